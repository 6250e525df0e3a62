package envd

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect"

	pb "shoal/internal/envdapi/gen/filesystem"
)

var octets = []string{"Content-Type", "application/octet-stream"}

// TestOnlyRegularFilesAreWritten: a fifo without a reader is not waited for, and devices
// and sockets keep their owner.
func TestOnlyRegularFilesAreWritten(t *testing.T) {
	g := newGuest(t)
	must(t, syscall.Mkfifo(g.home+"/fifo", 0o600))
	must(t, os.Symlink("fifo", g.home+"/link"))
	must(t, os.WriteFile(g.home+"/source", []byte("s"), 0o600))
	refused := func(a answered) {
		t.Helper()
		if wantError(t, a, 400, ""); !strings.Contains(a.body, "not a regular file") {
			t.Errorf("%s", a.body)
		}
	}
	paths, device := []string{"fifo", "link"}, g.home+"/null" // not the real one: a fault would replace it
	if os.Geteuid() == 0 {
		must(t, syscall.Mknod(device, syscall.S_IFCHR|0o666, 1<<8|3))
		must(t, os.Chown(device, 0, 0))
		paths = append(paths, device)
	}
	for _, path := range paths {
		refused(g.do("POST", "/files?path="+path, strings.NewReader("x"), octets...))
		refused(g.do("POST", "/files/compose", strings.NewReader(
			`{"source_paths":["source"],"destination":"`+path+`"}`)))
	}
	refused(g.do("POST", "/files/compose", strings.NewReader(`{"source_paths":["fifo"],"destination":"d"}`)))
	if len(paths) < 3 {
		return
	}
	info, err := os.Stat(device)
	must(t, err)
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 || info.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("the device is %v of user %d", info.Mode(), owner)
	}
}

// TestPathsThatCannotBe are the caller's fault in every call.
func TestPathsThatCannotBe(t *testing.T) {
	g := newGuest(t)
	must(t, os.Symlink("loop", g.home+"/loop"))
	must(t, os.WriteFile(g.home+"/file", nil, 0o600))
	for name, path := range map[string]string{"too long a name": strings.Repeat("n", 300),
		"too long a path": strings.Repeat("d/", 3000), "links in a circle": "loop/x", "NUL": "a\x00b"} {
		t.Run(name, func(t *testing.T) {
			query := "?path=" + strings.ReplaceAll(path, "\x00", "%00")
			wantError(t, g.do("POST", "/files"+query, strings.NewReader("x"), octets...), 400, "")
			wantError(t, g.do("GET", "/files"+query, nil), 400, "")
			quoted := strings.ReplaceAll(path, "\x00", `\u0000`)
			wantError(t, g.do("POST", "/files/compose", strings.NewReader(
				`{"source_paths":["`+quoted+`"],"destination":"d"}`)), 400, "")
			wantError(t, g.do("POST", "/files/compose", strings.NewReader(
				`{"source_paths":["file"],"destination":"`+quoted+`"}`)), 400, "")
			ctx := g.context()
			_, stat := g.filesystem.Stat(ctx, unary(&pb.StatRequest{Path: path}))
			_, list := g.filesystem.ListDir(ctx, unary(&pb.ListDirRequest{Path: path}))
			_, watch := g.filesystem.CreateWatcher(ctx, unary(&pb.CreateWatcherRequest{Path: path}))
			_, from := g.filesystem.Move(ctx, unary(&pb.MoveRequest{Source: path, Destination: "d"}))
			_, to := g.filesystem.Move(ctx, unary(&pb.MoveRequest{Source: "file", Destination: path}))
			_, remove := g.filesystem.Remove(ctx, unary(&pb.RemoveRequest{Path: path}))
			for call, err := range map[string]error{"stat": stat, "list": list, "watch": watch, "move from": from,
				"move to": to, "remove": remove, "make a directory": g.makeDir(path)} {
				code := connect.CodeOf(err)
				if code != connect.CodeInvalidArgument && code != connect.CodeFailedPrecondition {
					t.Errorf("%s: %v", call, err)
				}
			}
		})
	}
}

// TestNamesThatAreNotText: a name need not be UTF-8, and the directory with it can be
// listed and watched all the same.
func TestNamesThatAreNotText(t *testing.T) {
	g := newGuest(t)
	must(t, g.makeDir("d"))
	id := g.watcher(&pb.CreateWatcherRequest{Path: "d", IncludeEntry: true})
	name := "latin1-\xe9"
	must(t, os.WriteFile(filepath.Join(g.home, "d", name), nil, 0o600))
	must(t, os.Symlink(name, filepath.Join(g.home, "d", "link")))
	must(t, os.WriteFile(filepath.Join(g.home, "d", "plain"), nil, 0o600))

	resp, err := g.filesystem.ListDir(g.context(), unary(&pb.ListDirRequest{Path: "d"}))
	must(t, err)
	var names []string
	for _, e := range resp.Msg.GetEntries() {
		names = append(names, e.GetName())
		if !utf8.ValidString(e.GetPath() + e.GetSymlinkTarget()) {
			t.Errorf("%v", e)
		}
	}
	if got := strings.Join(names, " "); got != "latin1-\uFFFD link plain" {
		t.Errorf("listed %q", got)
	}
	events, err := g.events(id)
	if err != nil || !strings.HasPrefix(brief(events), "CREATE latin1-\uFFFD") || events[0].GetEntry() == nil {
		t.Errorf("%q, %v", brief(events), err)
	}
	if _, err := g.stat("d/link"); err != nil {
		t.Error(err)
	}
}
