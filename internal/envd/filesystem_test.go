package envd

import (
	"fmt"
	"os"
	"os/user"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	pb "shoal/internal/envdapi/gen/filesystem"
)

func (g *guest) stat(path string) (*pb.EntryInfo, error) {
	resp, err := g.filesystem.Stat(g.context(), unary(&pb.StatRequest{Path: path}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetEntry(), nil
}

func (g *guest) mustStat(path string) *pb.EntryInfo {
	g.t.Helper()
	entry, err := g.stat(path)
	if err != nil {
		g.t.Fatal(err)
	}
	return entry
}

func (g *guest) makeDir(path string) error {
	_, err := g.filesystem.MakeDir(g.context(), unary(&pb.MakeDirRequest{Path: path}))
	return err
}

func TestStat(t *testing.T) {
	g := newGuest(t)
	g.mustUpload("a.txt", "data")
	for name, target := range map[string]string{"link": "a.txt", "dirlink": "..", "broken": "nowhere",
		"cycle": "cycle"} {
		if err := os.Symlink(target, g.home+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(g.home+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(g.home+"/sticky", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(g.home+"/sticky", 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	const file, dir, other = pb.FileType_FILE_TYPE_FILE, pb.FileType_FILE_TYPE_DIRECTORY,
		pb.FileType_FILE_TYPE_UNSPECIFIED
	none := "-"
	for _, c := range []struct {
		path        string
		kind        pb.FileType
		mode        uint32
		permissions string
		target      string
		size        int64 // -1: positive
	}{
		{"a.txt", file, 0o644, "-rw-r--r--", none, 4},
		{"~", dir, 0o755, "drwxr-xr-x", none, -1},
		{"link", file, 0o644, "Lrwxrwxrwx", g.home + "/a.txt", 5},
		{"broken", other, 0, "Lrwxrwxrwx", g.home + "/broken", 7},
		{"cycle", other, 0, "Lrwxrwxrwx", g.home + "/cycle", 5},
		{"fifo", other, 0o600, "prw-------", none, 0},
		{"sticky", dir, 0o777, "dtrwxrwxrwx", none, -1},
	} {
		e := g.mustStat(c.path)
		if e.GetType() != c.kind || e.GetMode() != c.mode || e.GetPermissions() != c.permissions {
			t.Errorf("%s: %v", c.path, e)
		}
		if (c.target == none) != (e.SymlinkTarget == nil) ||
			(c.target != none && e.GetSymlinkTarget() != c.target) {
			t.Errorf("%s: target %v", c.path, e.SymlinkTarget)
		}
		if e.GetIsSymlink() != (c.target != none) { // clients-2.63.md §5.2
			t.Errorf("%s: is a link: %v", c.path, e.GetIsSymlink())
		}
		if e.GetSize() != c.size && (c.size >= 0 || e.GetSize() <= 0) {
			t.Errorf("%s: size %d", c.path, e.GetSize())
		}
	}
	if got := g.mustStat("dirlink"); got.GetType() != dir || got.GetSymlinkTarget() == "" {
		t.Errorf("dirlink: %v", got)
	}
	e := g.mustStat("a.txt")
	info, err := os.Stat(g.home + "/a.txt")
	if err != nil {
		t.Fatal(err)
	}
	if e.GetName() != "a.txt" || e.GetPath() != g.home+"/a.txt" || e.GetOwner() != "user" ||
		e.GetGroup() != "user" || !e.GetModifiedTime().AsTime().Equal(info.ModTime()) {
		t.Errorf("%v", e)
	}
	for path, code := range map[string]connect.Code{"missing": connect.CodeNotFound,
		"a.txt/x": connect.CodeInternal, "~other": connect.CodeInvalidArgument} {
		_, err := g.stat(path)
		wantCode(t, err, code)
	}
}

func TestMakeDirAndMoveAndRemove(t *testing.T) {
	g := newGuest(t)
	if err := g.makeDir("a/b/c"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/a", "/a/b", "/a/b/c"} {
		if uid, mode := g.owner(g.home + path); uid != g.uid || mode != 0o755|os.ModeDir {
			t.Errorf("%s: uid %d, mode %v", path, uid, mode)
		}
	}
	g.mustUpload("file", "x")
	wantCode(t, g.makeDir("a/b"), connect.CodeAlreadyExists)
	wantCode(t, g.makeDir("file"), connect.CodeInvalidArgument)
	wantCode(t, g.makeDir("file/below"), connect.CodeInternal)

	move := func(from, to string) (*pb.EntryInfo, error) {
		resp, err := g.filesystem.Move(g.context(), unary(&pb.MoveRequest{Source: from, Destination: to}))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetEntry(), nil
	}
	e, err := move("file", "x/y/renamed")
	if err != nil || e.GetName() != "renamed" || e.GetPath() != g.home+"/x/y/renamed" ||
		e.GetType() != pb.FileType_FILE_TYPE_FILE {
		t.Fatalf("%v, %v", e, err)
	}
	_, err = g.stat("file")
	wantCode(t, err, connect.CodeNotFound)
	_, err = move("file", "never/made/z")
	wantCode(t, err, connect.CodeNotFound)
	if _, err := os.Stat(g.home + "/never"); err == nil {
		t.Error("a move of nothing made directories")
	}
	g.mustUpload("other", "new")
	if _, err := move("other", "x/y/renamed"); err != nil || g.download("x/y/renamed").body != "new" {
		t.Errorf("replace: %v", err)
	}
	if err := os.Symlink("x", g.home+"/link"); err != nil {
		t.Fatal(err)
	}
	if e, err := move("link", "moved"); err != nil || e.GetSymlinkTarget() == "" {
		t.Errorf("a link did not move as a link: %v, %v", e, err)
	}
	_, err = move("x", "a")
	wantCode(t, err, connect.CodeInternal)

	for range 2 { // the second time it is absent
		if _, err := g.filesystem.Remove(g.context(), unary(&pb.RemoveRequest{Path: "x"})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(g.home + "/x"); err == nil {
		t.Error("it is still there")
	}
}

func TestListDir(t *testing.T) {
	g := newGuest(t)
	for _, path := range []string{"d/subdir1/subdir1_1/deep.txt", "d/subdir1/subdir1_2/x", "d/subdir2/y",
		"d/file1.txt"} {
		g.mustUpload(path, "")
	}
	for name, target := range map[string]string{"d/to-dir": "subdir1", "entry": "d", "loop": "loop"} {
		if err := os.Symlink(target, g.home+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	list := func(path string, depth uint32) ([]string, error) {
		resp, err := g.filesystem.ListDir(g.context(), unary(&pb.ListDirRequest{Path: path, Depth: depth}))
		if err != nil {
			return nil, err
		}
		var paths []string
		for _, e := range resp.Msg.GetEntries() {
			rest, ok := strings.CutPrefix(e.GetPath(), g.home+"/"+path+"/")
			if !ok || e.GetName() != rest[strings.LastIndex(rest, "/")+1:] {
				t.Errorf("entry %v", e)
			}
			paths = append(paths, rest)
		}
		return paths, nil
	}
	one := "[file1.txt subdir1 subdir2 to-dir]"
	two := "[file1.txt subdir1 subdir1/subdir1_1 subdir1/subdir1_2 subdir2 subdir2/y to-dir]"
	three := "[file1.txt subdir1 subdir1/subdir1_1 subdir1/subdir1_1/deep.txt subdir1/subdir1_2 " +
		"subdir1/subdir1_2/x subdir2 subdir2/y to-dir]"
	for _, c := range []struct {
		path  string
		depth uint32
		want  string
	}{{"d", 0, one}, {"d", 1, one}, {"d", 2, two}, {"d", 3, three}, {"d", 9, three}, {"entry", 2, two}} {
		got, err := list(c.path, c.depth)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s, %d: %v, %v", c.path, c.depth, got, err)
		}
	}
	for path, code := range map[string]connect.Code{"missing": connect.CodeNotFound,
		"d/file1.txt": connect.CodeInvalidArgument, "loop": connect.CodeFailedPrecondition} {
		_, err := list(path, 1)
		wantCode(t, err, code)
	}
	a := g.do("POST", "/filesystem.Filesystem/ListDir",
		strings.NewReader(`{"path":"d/subdir2","depth":1,"unknown":true}`), "Content-Type",
		"application/json")
	if a.status != 200 || !strings.Contains(a.body, `"FILE_TYPE_FILE"`) ||
		strings.Contains(a.body, `"size"`) {
		t.Errorf("JSON: %d %s", a.status, a.body)
	}
	if err := g.makeDir("void"); err != nil {
		t.Fatal(err)
	}
	a = g.do("POST", "/filesystem.Filesystem/ListDir", strings.NewReader(`{"path":"void"}`),
		"Content-Type", "application/json")
	if a.body != "{}" {
		t.Errorf("empty directory: %s", a.body)
	}
}

func TestNumericOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if u, err := user.LookupId("54321"); err == nil {
		t.Skip("the ID is in use by ", u.Username)
	}
	g := newGuest(t)
	g.mustUpload("f", "")
	if err := os.Chown(g.home+"/f", 54321, 54322); err != nil {
		t.Fatal(err)
	}
	if e := g.mustStat("f"); e.GetOwner() != "54321" || e.GetGroup() != "54322" {
		t.Errorf("%v", e)
	}
}

func TestWireErrors(t *testing.T) {
	g := newGuest(t)
	for _, c := range []struct {
		name, path, kind, body string
		status                 int
		contains               string
	}{
		{"malformed JSON", "/filesystem.Filesystem/Stat", "application/json", "{", 400, `"invalid_argument"`},
		{"not found", "/filesystem.Filesystem/Stat", "application/json; charset=utf-8",
			`{"path":"/missing/x"}`, 404, `"not_found"`},
		{"content type", "/filesystem.Filesystem/Stat", "text/plain", "", 415, ""},
		{"stream as unary", "/process.Process/Start", "application/json", "{}", 415, ""},
	} {
		a := g.do("POST", c.path, strings.NewReader(c.body), "Content-Type", c.kind)
		if a.status != c.status || !strings.Contains(a.body, c.contains) {
			t.Errorf("%s: %d %q", c.name, a.status, a.body)
		}
		if c.status == 415 && a.header.Get("Accept-Post") == "" {
			t.Errorf("%s: no Accept-Post", c.name)
		}
	}
	a := g.do("POST", "/filesystem.Filesystem/Stat", strings.NewReader("{}"), "Content-Type",
		"application/json", "Connect-Timeout-Ms", "12345678901")
	if a.status != 400 || !strings.Contains(a.body, "invalid_argument") {
		t.Errorf("timeout: %d %q", a.status, a.body)
	}
}
