package volume

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func openTree(t *testing.T) (*Tree, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	tree, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree, dir
}

// wants fails the test unless the error has the status; 0 is none.
func wants(t *testing.T, what string, err error, status int) {
	t.Helper()
	known := new(Error)
	switch {
	case status == 0 && err != nil:
		t.Errorf("%s: %v", what, err)
	case status != 0 && (!errors.As(err, &known) || known.Status != status):
		t.Errorf("%s: %v, want %d", what, err, status)
	}
}

// TestHostileTree: no path and no link leads out of a volume, and nothing in it makes anybody wait.
func TestHostileTree(t *testing.T) {
	tree, dir := openTree(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"absolute": outside, "up": "..", "far": "../outside", "self": "self",
		"inside": "dir", "root": "/", "proc": "/proc/self/root"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "dir"), 0o777), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"absolute", "up/outside", "far", "self", "self/x", "root/etc/passwd", "proc/etc/passwd",
		"../outside", "dir/../../outside", "pipe", "dir", "/", strings.Repeat("x", 300), strings.Repeat("x/", 3000), "a\x00b", ""} {
		if f, err := tree.Read(path); err == nil {
			f.Close()
			t.Errorf("%q was read", path)
		} else {
			wants(t, "read "+path, err, 400)
		}
	}
	for _, path := range []string{"up/made", "root/made", "far/made", "../made", "self/made"} {
		_, err := tree.Put(path, strings.NewReader("x"), Wish{}, true)
		wants(t, "put "+path, err, 400)
		_, err = tree.MakeDir(path, Wish{}, true)
		wants(t, "make "+path, err, 400)
	}
	// What is put at a link takes its place.
	_, err := tree.Put("absolute", strings.NewReader("mine"), Wish{}, true)
	wants(t, "put at a link", err, 0)
	if data, err := os.ReadFile(outside); string(data) != "secret" || err != nil {
		t.Errorf("outside there is %q, %v", data, err)
	}
	mode := uint32(0o777)
	_, err = tree.Change("far", Wish{Mode: &mode})
	wants(t, "change what a link leads to", err, 400)
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("outside has the mode %v, %v", info.Mode(), err)
	}
	wants(t, "remove a link", tree.Remove("up"), 0)
	wants(t, "remove the root", tree.Remove("/."), 400)
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	_, err = tree.Put("inside/file", strings.NewReader("x"), Wish{}, false)
	wants(t, "put through a link within", err, 0)
}

// TestTreeRaces: while somebody exchanges a directory and a link that leads out, nothing is written or
// removed outside.
func TestTreeRaces(t *testing.T) {
	tree, dir := openTree(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	err := errors.Join(os.Mkdir(outside, 0o777), os.WriteFile(filepath.Join(outside, "kept"), []byte("x"), 0o666),
		os.Mkdir(filepath.Join(dir, "a"), 0o777), os.Symlink("../outside", filepath.Join(dir, "b")))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "a"), unix.AT_FDCWD, filepath.Join(dir, "b"), unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 2000 {
		_, _ = tree.Put("a/new", strings.NewReader("x"), Wish{}, true)
		_, _ = tree.MakeDir("a/dir/below", Wish{}, true)
		_ = tree.Remove("a/kept")
		_, _ = tree.List("/", 3)
	}
	close(stop)
	others.Wait()
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 || entries[0].Name() != "kept" {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}

// TestTreeStatuses: what clients are told.
func TestTreeStatuses(t *testing.T) {
	tree, _ := openTree(t)
	put := func(path string, force bool) error {
		_, err := tree.Put(path, strings.NewReader("x"), Wish{}, force)
		return err
	}
	made := func(path string, force bool) error {
		_, err := tree.MakeDir(path, Wish{}, force)
		return err
	}
	for _, c := range []struct {
		what   string
		err    error
		status int
	}{
		{"a file", put("/f", false), 0}, {"again", put("f", false), 409}, {"by force", put("f", true), 0},
		{"below a file", put("f/x", false), 400}, {"below a file by force", put("f/x", true), 400},
		{"without a parent", put("d/f", false), 404}, {"without a parent by force", put("d/e/f", true), 0},
		{"at a directory", put("d", true), 400}, {"a directory at a file", made("f", false), 409},
		{"by force at a file", made("f", true), 409}, {"a directory", made("n", false), 0}, {"again", made("n", false), 409},
		{"by force", made("n", true), 0}, {"without a parent", made("o/p", false), 404}, {"by force", made("o/p", true), 0},
		{"the root", made("/", false), 409}, {"the root by force", made("/", true), 0},
		{"nothing removed", tree.Remove("q"), 404}, {"all removed", tree.Remove("d"), 0},
	} {
		wants(t, c.what, c.err, c.status)
	}
	_, err := tree.List("f", 1)
	wants(t, "list a file", err, 400)
	_, err = tree.List("/", 11)
	wants(t, "list too deep", err, 400)
	list, err := tree.List("/", 0)
	if err != nil || len(list) != 3 || list[0].Path != "/f" || list[1].Path != "/n" || list[2].Path != "/o" {
		t.Errorf("the root has %v, %v", list, err)
	}
}

// TestTreeWishes: owners and modes, by wish and by default.
func TestTreeWishes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("owners are root's to give")
	}
	tree, _ := openTree(t)
	uid, gid, mode := uint32(7), uint32(8), uint32(0o4750)
	e, err := tree.Put("a/b/f", strings.NewReader("x"), Wish{UID: &uid, GID: &gid, Mode: &mode}, true)
	if err != nil || e.UID != 7 || e.GID != 8 || e.Mode != 0o4750 || e.Size != 1 || e.Kind != File {
		t.Errorf("the file is %+v, %v", e, err)
	}
	for _, path := range []string{"a", "a/b"} {
		if e, err := tree.Stat(path); err != nil || e.UID != 7 || e.Mode != defaultDir || e.Kind != Directory {
			t.Errorf("%s is %+v, %v", path, e, err)
		}
	}
	e, err = tree.Put("plain", strings.NewReader(""), Wish{}, false)
	if err != nil || e.UID != defaultOwner || e.GID != defaultOwner || e.Mode != defaultFile {
		t.Errorf("the plain file is %+v, %v", e, err)
	}
	e, err = tree.Change("plain", Wish{GID: &gid})
	if err != nil || e.UID != defaultOwner || e.GID != 8 || e.Mode != defaultFile {
		t.Errorf("the changed file is %+v, %v", e, err)
	}
}

// TestBrokenPut: what cannot be read to its end leaves what was there, and nothing else.
func TestBrokenPut(t *testing.T) {
	tree, dir := openTree(t)
	_, err := tree.Put("f", strings.NewReader("first"), Wish{}, false)
	wants(t, "put", err, 0)
	_, err = tree.Put("f", io.MultiReader(strings.NewReader("second"), brokenReader{}), Wish{}, true)
	if !errors.As(err, new(*ReadError)) {
		t.Errorf("a broken put: %v", err)
	}
	entries, err := os.ReadDir(dir)
	data, readErr := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil || readErr != nil || len(entries) != 1 || string(data) != "first" {
		t.Errorf("there is %v with %q, %v", entries, data, errors.Join(err, readErr))
	}
}

// TestBrokenPutsRoom: what broke off takes no room any more.
func TestBrokenPutsRoom(t *testing.T) {
	dir := t.TempDir()
	room, err := OpenRoom(filepath.Join(t.TempDir(), "counter"), 1<<20, dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Open(dir, room)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	content := strings.Repeat("x", 900<<10)
	for range 3 {
		_, err := tree.Put("f", io.MultiReader(strings.NewReader(content), brokenReader{}), Wish{}, false)
		if !errors.As(err, new(*ReadError)) {
			t.Fatalf("a broken put: %v", err)
		}
	}
	_, err = tree.Put("f", strings.NewReader(content), Wish{}, false)
	wants(t, "what has room", err, 0)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("it broke off") }

// FuzzPath: whatever path is asked for, what is found is within.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"/", "a/../..", "..", "./..", "a//b", "\x00", "up/outside", strings.Repeat("../", 20)} {
		f.Add(path)
	}
	dir := f.TempDir()
	inside := filepath.Join(dir, "volume")
	err := errors.Join(os.Mkdir(inside, 0o777), os.WriteFile(filepath.Join(dir, "outside"), []byte("secret"), 0o600),
		os.Symlink("..", filepath.Join(inside, "up")), os.Symlink(dir, filepath.Join(inside, "abs")))
	if err != nil {
		f.Fatal(err)
	}
	tree, err := Open(inside, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if found, err := tree.Read(path); err == nil {
			found.Close()
			t.Errorf("%q was found", path) // there is no file within
		}
	})
}
