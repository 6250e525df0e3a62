package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func ext4Of(t *testing.T, tree *Tree, free int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fs.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := WriteExt4(f, tree, free)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Errorf("the file has %v bytes, the file system %d (%v)", info.Size(), size, err)
	}
	return f.Name()
}

// checkExt4 has the host's own program look for faults.
func checkExt4(t *testing.T, path string) {
	t.Helper()
	if _, err := exec.LookPath("e2fsck"); err != nil {
		t.Skip("no e2fsck")
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

func debugfs(t *testing.T, path, command string) string {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", command, path).Output()
	if err != nil {
		t.Fatalf("debugfs %s: %v", command, err)
	}
	return string(out)
}

func TestExt4(t *testing.T) {
	tree := NewTree()
	long := strings.Repeat("long/", 30)
	put(t, tree, "bin/program", NewFile(0o755, bytes.Repeat([]byte("x"), 10_000)))
	put(t, tree, "bin/link", NewLink("program"))
	put(t, tree, "bin/long-link", NewLink(long))
	shared := NewFile(0o640, []byte("shared"))
	shared.UID, shared.GID = 100_000, 70_000
	put(t, tree, "one", shared)
	put(t, tree, "dir/two", shared)
	put(t, tree, "dev/null", &Node{Mode: unix.S_IFCHR | 0o666, Device: unix.Mkdev(1, 3), MTime: epoch})
	put(t, tree, "dev/far", &Node{Mode: unix.S_IFBLK | 0o600, Device: unix.Mkdev(300, 70_000), MTime: epoch})
	put(t, tree, "run/pipe", &Node{Mode: unix.S_IFIFO | 0o600, MTime: epoch})
	put(t, tree, "empty", NewFile(0o600, nil))
	for n := range 3000 { // a directory of many blocks
		put(t, tree, fmt.Sprintf("many/%s-%04d", strings.Repeat("n", n%100), n), NewFile(0o600, []byte{byte(n)}))
	}
	for _, free := range []int64{0, 1 << 20, 64 << 20, 300 << 20, 40 << 30} {
		path := ext4Of(t, tree, free)
		checkExt4(t, path)
		if got := debugfs(t, path, "cat /bin/program"); len(got) != 10_000 {
			t.Errorf("the program has %d bytes", len(got))
		}
		if got := debugfs(t, path, "cat /dir/two"); got != "shared" {
			t.Errorf("a hard link: %q", got)
		}
		stat := debugfs(t, path, "stat /one")
		if !strings.Contains(stat, "User: 100000   Group: 70000") || !strings.Contains(stat, "Links: 2") {
			t.Errorf("a file with two names and large owners: %s", stat)
		}
		if stat := debugfs(t, path, "stat /bin/link"); !strings.Contains(stat, `Fast link dest: "program"`) {
			t.Errorf("a link: %s", stat)
		}
		if stat := debugfs(t, path, "stat /dev/far"); !strings.Contains(stat, "300:70000") {
			t.Errorf("a device: %s", stat)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Blocks*512 > 20<<20 {
			t.Errorf("with %d bytes of room the file takes %d (%v)", free, st.Blocks*512, err)
		}
		// Of small files there is room for as many as there are blocks.
		if blocks, inodes := freeOf(t, path); blocks < free/ext4Block || inodes < blocks {
			t.Errorf("with %d bytes of room %d blocks and %d inodes are free", free, blocks, inodes)
		}
		if most := free + free/15 + 64<<20; st.Size > most {
			t.Errorf("with %d bytes of room the file system has %d, more than %d", free, st.Size, most)
		}
	}
}

// freeOf reads from a file system how many blocks and inodes of it are free.
func freeOf(t *testing.T, path string) (blocks, inodes int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	super := make([]byte, 1024)
	if _, err := f.ReadAt(super, 1024); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	return int64(le.Uint32(super[12:])), int64(le.Uint32(super[16:]))
}

func TestExt4OfLargeFiles(t *testing.T) {
	sparse := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 700<<20 + 5 // more extents than an inode holds
	if err := os.Truncate(sparse, size); err != nil {
		t.Fatal(err)
	}
	tree := NewTree()
	put(t, tree, "large", &Node{Mode: unix.S_IFREG | 0o600, MTime: epoch, Path: sparse, Size: size})
	path := ext4Of(t, tree, 1<<20)
	checkExt4(t, path)
	if stat := debugfs(t, path, "stat /large"); !strings.Contains(stat, fmt.Sprintf("Size: %d", size)) {
		t.Errorf("the file: %s", stat)
	}
}

// TestExt4OfImages: a guest with a kernel of its own has the files that others have.
func TestExt4OfImages(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	image := func(files map[string]*Node) string {
		t.Helper()
		tree := NewTree()
		for name, n := range files {
			put(t, tree, name, n)
		}
		digest, _, err := s.Put(tree)
		if err != nil {
			t.Fatal(err)
		}
		path, err := s.Path(digest)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	both := NewFile(0o600, []byte("linked"))
	lower := image(map[string]*Node{"dir/both": NewFile(0o644, []byte("1")), "dir/first": NewFile(0o644, []byte("first")),
		"gone": NewFile(0o644, nil), "a": both, "b": both, "link": NewLink("dir/first"),
		"file-then-dir": NewFile(0o600, nil), "tty": {Mode: unix.S_IFCHR | 0o620, Device: unix.Mkdev(5, 1), MTime: epoch}})
	upper := image(map[string]*Node{"dir/both": NewFile(0o644, []byte("22")), "gone": newWhiteout(),
		"dir/second": NewFile(0o644, nil), "file-then-dir/in": NewFile(0o600, []byte("in"))})
	tree, err := FromImages(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	path := ext4Of(t, tree, 1<<20)
	checkExt4(t, path)
	for name, want := range map[string]string{"/dir/both": "22", "/dir/first": "first", "/a": "linked",
		"/file-then-dir/in": "in"} {
		if got := debugfs(t, path, "cat "+name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if list := debugfs(t, path, "ls /"); strings.Contains(list, "gone") {
		t.Errorf("a file that is hidden is there: %s", list)
	}
	if stat := debugfs(t, path, "stat /b"); !strings.Contains(stat, "Links: 2") {
		t.Errorf("a hard link: %s", stat)
	}
	again, err := FromImages(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	one, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := os.ReadFile(ext4Of(t, again, 1<<20)); err != nil || !bytes.Equal(one, other) {
		t.Errorf("equal images make other file systems (%v)", err)
	}
}

// TestExt4OfAnything makes file systems of random trees.
func TestExt4OfAnything(t *testing.T) {
	for seed := range int64(20) {
		r := rand.New(rand.NewSource(seed))
		tree := NewTree()
		for n := range r.Intn(300) {
			name := fmt.Sprintf("%d/%d/%s", r.Intn(5), r.Intn(20), strings.Repeat("x", 1+r.Intn(200)))
			node := NewFile(0o600, make([]byte, r.Intn(9000)))
			if n%7 == 0 {
				node = NewLink(strings.Repeat("t", 1+r.Intn(200)))
			}
			_ = tree.Put(name, node) // some names are directories already
		}
		path := ext4Of(t, tree, r.Int63n(400<<20))
		checkExt4(t, path)
		if t.Failed() {
			t.Fatalf("with the seed %d", seed)
		}
	}
}
