package envd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	pb "shoal/internal/envdapi/gen/filesystem"
)

func (g *guest) watcher(req *pb.CreateWatcherRequest) string {
	g.t.Helper()
	resp, err := g.filesystem.CreateWatcher(g.context(), unary(req))
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.Msg.GetWatcherId()
}

func (g *guest) events(id string) ([]*pb.FilesystemEvent, error) {
	resp, err := g.filesystem.GetWatcherEvents(g.context(), unary(&pb.GetWatcherEventsRequest{WatcherId: id}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetEvents(), nil
}

// brief prints events as "CREATE a, WRITE a".
func brief(events []*pb.FilesystemEvent) string {
	var out []string
	for _, e := range events {
		out = append(out, strings.TrimPrefix(e.GetType().String(), "EVENT_TYPE_")+" "+e.GetName())
	}
	return strings.Join(out, ", ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchEvents(t *testing.T) {
	for _, recursive := range []bool{false, true} {
		t.Run(fmt.Sprintf("recursive %v", recursive), func(t *testing.T) {
			g := newGuest(t)
			must(t, g.makeDir("w"))
			must(t, g.makeDir("out"))
			w, out := g.home+"/w", g.home+"/out"
			id := g.watcher(&pb.CreateWatcherRequest{Path: "w/", Recursive: recursive})
			if len(id) != 21 || id[0] != 'w' {
				t.Errorf("watcher ID %q", id)
			}
			step := func(name, want string, do func()) {
				t.Helper()
				do()
				got, err := g.events(id)
				if err != nil || brief(got) != want {
					t.Errorf("%s: %q, %v; want %q", name, brief(got), err, want)
				}
			}
			step("nothing", "", func() {})
			step("upload new", "CREATE a.txt, CHMOD a.txt, WRITE a.txt",
				func() { g.mustUpload("w/a.txt", "content") })
			step("rename inside", "RENAME a.txt, CREATE b.txt",
				func() { must(t, os.Rename(w+"/a.txt", w+"/b.txt")) })
			step("move out", "RENAME b.txt", func() { must(t, os.Rename(w+"/b.txt", out+"/b.txt")) })
			step("move in", "CREATE c.txt", func() { must(t, os.Rename(out+"/b.txt", w+"/c.txt")) })
			step("chmod", "CHMOD c.txt", func() { must(t, os.Chmod(w+"/c.txt", 0o600)) })
			step("delete", "REMOVE c.txt", func() { must(t, os.Remove(w+"/c.txt")) })
			step("chmod the directory", "CHMOD .", func() { must(t, os.Chmod(w, 0o700)) })
			step("delete the directory", "REMOVE .", func() { must(t, os.Remove(w)) })

			_, err := g.filesystem.RemoveWatcher(g.context(), unary(&pb.RemoveWatcherRequest{WatcherId: id}))
			must(t, err)
			_, err = g.events(id)
			wantCode(t, err, connect.CodeNotFound)
			_, err = g.filesystem.RemoveWatcher(g.context(), unary(&pb.RemoveWatcherRequest{WatcherId: id}))
			wantCode(t, err, connect.CodeNotFound)
		})
	}
}

// Equal events that follow each other may be merged by the kernel, so only the
// first and the kinds are certain here.
func TestWatchOverwrite(t *testing.T) {
	g := newGuest(t)
	g.mustUpload("w/a", "old")
	id := g.watcher(&pb.CreateWatcherRequest{Path: "w"})
	g.mustUpload("w/a", "new")
	got, err := g.events(id)
	must(t, err)
	if b := brief(got); b != "CHMOD a, WRITE a" && b != "CHMOD a, WRITE a, WRITE a" {
		t.Errorf("overwrite: %s", b)
	}
}

func TestWatchTree(t *testing.T) {
	g := newGuest(t)
	must(t, g.makeDir("w/old/er"))
	w := g.home + "/w"
	id := g.watcher(&pb.CreateWatcherRequest{Path: w, Recursive: true})
	step := func(name, want string, do func()) {
		t.Helper()
		do()
		got, err := g.events(id)
		must(t, err)
		if brief(got) != want {
			t.Errorf("%s: %q, want %q", name, brief(got), want)
		}
	}
	step("in an old directory", "CREATE old/er/f, CHMOD old/er/f, WRITE old/er/f",
		func() { g.mustUpload("w/old/er/f", "x") })
	step("nested directories", "CREATE a, CREATE a/b, CREATE a/b/c",
		func() { must(t, os.MkdirAll(w+"/a/b/c", 0o755)) })
	step("in a new directory", "CREATE a/b/c/f", func() { must(t, os.Symlink("x", w+"/a/b/c/f")) })
	step("rename of a tree", "RENAME a, CREATE z", func() { must(t, os.Rename(w+"/a", w+"/z")) })
	step("in the renamed tree", "CREATE z/b/c/g", func() { must(t, os.Symlink("x", w+"/z/b/c/g")) })
	step("a tree leaves", "RENAME z", func() { must(t, os.Rename(w+"/z", g.home+"/z")) })
	step("in the tree that left", "", func() { must(t, os.Symlink("x", g.home+"/z/b/h")) })
	step("the tree comes back",
		"CREATE y, CREATE y/b, CREATE y/b/c, CREATE y/b/c/f, CREATE y/b/c/g, CREATE y/b/h",
		func() { must(t, os.Rename(g.home+"/z", w+"/y")) })
	step("in the tree that is back", "CREATE y/i", func() { must(t, os.Symlink("x", w+"/y/i")) })
	step("a directory is replaced", "REMOVE old/er/f, REMOVE old/er, CREATE old/er, CREATE old/er/new",
		func() {
			must(t, os.RemoveAll(w+"/old/er"))
			must(t, os.Mkdir(w+"/old/er", 0o755))
			must(t, os.Symlink("x", w+"/old/er/new"))
		})
}

// An upload into a directory made a moment before must not lose its WRITE.
func TestWatchUploadIntoNewDirectory(t *testing.T) {
	g := newGuest(t)
	must(t, g.makeDir("w"))
	id := g.watcher(&pb.CreateWatcherRequest{Path: "w", Recursive: true})
	for i := range 30 {
		g.mustUpload(fmt.Sprintf("w/%d/f", i), "x")
	}
	got, err := g.events(id)
	must(t, err)
	all := brief(got)
	for i := range 30 {
		if !strings.Contains(all, fmt.Sprintf("WRITE %d/f", i)) {
			t.Fatalf("no WRITE for %d/f in %s", i, all)
		}
	}
}

func TestWatchEntries(t *testing.T) {
	g := newGuest(t)
	must(t, g.makeDir("w"))
	id := g.watcher(&pb.CreateWatcherRequest{Path: "w", IncludeEntry: true, AllowNetworkMounts: true})
	g.mustUpload("w/f", "x")
	must(t, os.Rename(g.home+"/w/f", g.home+"/w/g"))
	must(t, os.Remove(g.home+"/w/g"))
	g.mustUpload("w/h", "x")
	got, err := g.events(id)
	must(t, err)
	for _, e := range got {
		name, entry := e.GetName(), e.GetEntry()
		switch e.GetType() {
		case pb.EventType_EVENT_TYPE_REMOVE, pb.EventType_EVENT_TYPE_RENAME:
			if entry != nil {
				t.Errorf("%v %s has an entry", e.GetType(), name)
			}
		default:
			if name == "h" && (entry.GetPath() != g.home+"/w/h" || entry.GetName() != "h" ||
				entry.GetType() != pb.FileType_FILE_TYPE_FILE) {
				t.Errorf("%v %s: %v", e.GetType(), name, entry)
			}
		}
	}
	if len(got) == 0 {
		t.Error("no events")
	}
}

func TestWatchDirStream(t *testing.T) {
	g := newGuest(t)
	must(t, g.makeDir("w"))
	req := unary(&pb.WatchDirRequest{Path: "w"})
	req.Header().Set("Keepalive-Ping-Interval", "1")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := g.filesystem.WatchDir(ctx, req)
	must(t, err)
	defer s.Close()
	if !s.Receive() || s.Msg().GetStart() == nil {
		t.Fatalf("no start: %v", s.Err())
	}
	g.mustUpload("w/f", "x")
	var got []*pb.FilesystemEvent
	for len(got) < 3 && s.Receive() {
		if e := s.Msg().GetFilesystem(); e != nil {
			got = append(got, e)
		}
	}
	if brief(got) != "CREATE f, CHMOD f, WRITE f" {
		t.Errorf("events %s, %v", brief(got), s.Err())
	}
	if !s.Receive() || s.Msg().GetKeepalive() == nil {
		t.Errorf("no keepalive: %v, %v", s.Msg(), s.Err())
	}
	for s.Receive() {
	}
	wantCode(t, s.Err(), connect.CodeDeadlineExceeded)
}

func TestWatchRefusals(t *testing.T) {
	g := newGuest(t)
	g.mustUpload("file", "")
	for path, code := range map[string]connect.Code{"missing": connect.CodeNotFound,
		"file": connect.CodeInvalidArgument, "~x": connect.CodeInvalidArgument} {
		_, err := g.filesystem.CreateWatcher(g.context(), unary(&pb.CreateWatcherRequest{Path: path}))
		wantCode(t, err, code)
		s, err := g.filesystem.WatchDir(g.context(), unary(&pb.WatchDirRequest{Path: path}))
		must(t, err)
		if s.Receive() {
			t.Errorf("%s: %v", path, s.Msg())
		}
		wantCode(t, s.Err(), code)
		_ = s.Close()
	}
	_, err := g.events("wunknown")
	wantCode(t, err, connect.CodeNotFound)
}
