package envd

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

type uploaded struct {
	Name     string            `json:"name"`
	Path     string            `json:"path"`
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata"`
}

func parseUpload(t *testing.T, a answered) []uploaded {
	t.Helper()
	var files []uploaded
	if err := json.Unmarshal([]byte(a.body), &files); err != nil || a.status != 200 {
		t.Fatalf("upload: %d %q", a.status, a.body)
	}
	return files
}

type part struct{ field, filename, content string }

func form(t *testing.T, parts ...part) (io.Reader, string) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name="%s"`, p.field)
		if p.filename != "" {
			disposition += fmt.Sprintf(`; filename="%s"`, p.filename)
		}
		h.Set("Content-Disposition", disposition)
		out, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, p.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &body, w.FormDataContentType()
}

func zip(t *testing.T, s string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func unzip(t *testing.T, s string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (g *guest) download(path string, headers ...string) answered {
	g.t.Helper()
	return g.do("GET", "/files?path="+url.QueryEscape(path), nil, headers...)
}

func (g *guest) owner(path string) (uid int, mode os.FileMode) {
	g.t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		g.t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid), info.Mode()
}

func TestUploadRaw(t *testing.T) {
	g := newGuest(t)
	files := parseUpload(t, g.upload("x.txt", "content"))
	if len(files) != 1 || files[0].Name != "x.txt" || files[0].Path != g.home+"/x.txt" ||
		files[0].Type != "file" {
		t.Fatalf("%+v", files)
	}
	a := g.upload("x.txt", "other")
	want := fmt.Sprintf(`[{"name":"x.txt","path":"%s/x.txt","type":"file"}]`, g.home)
	if strings.TrimSpace(a.body) != want {
		t.Errorf("answer %s, want %s", a.body, want)
	}
	if got := g.download("x.txt").body; got != "other" {
		t.Errorf("downloaded %q", got)
	}
	g.mustUpload("new/deep/file", "x")
	for path, want := range map[string]os.FileMode{"/new": 0o755 | os.ModeDir,
		"/new/deep": 0o755 | os.ModeDir, "/new/deep/file": 0o644} {
		if uid, mode := g.owner(g.home + path); uid != g.uid || mode != want {
			t.Errorf("%s: uid %d, mode %v", path, uid, mode)
		}
	}
	if err := os.Chmod(g.home+"/x.txt", 0o700); err != nil {
		t.Fatal(err)
	}
	g.mustUpload("~/x.txt", "kept")
	if _, mode := g.owner(g.home + "/x.txt"); mode != 0o700 {
		t.Errorf("an overwrite changed the mode to %v", mode)
	}
	large := strings.Repeat("0123456789", 100_000)
	if g.mustUpload("large", large); g.download("large").body != large {
		t.Error("a large file is damaged")
	}
	g.mustUpload("zipped", zip(t, large), "Content-Encoding", "GZIP; x=1")
	if g.download("zipped").body != large {
		t.Error("a gzip upload is damaged")
	}
}

func TestUploadForm(t *testing.T) {
	g := newGuest(t)
	abs := filepath.Join(g.home, "abs", "b.txt")
	body, kind := form(t, part{"file", "dir/a.txt", "A"}, part{"note", "ignored", "-"},
		part{"file", abs, "B"})
	files := parseUpload(t, g.do("POST", "/files", body, "Content-Type", kind))
	if len(files) != 2 || files[0].Path != g.home+"/dir/a.txt" || files[1].Path != abs {
		t.Fatalf("%+v", files)
	}
	if g.download("dir/a.txt").body != "A" || g.download(abs).body != "B" {
		t.Error("contents differ")
	}
	body, kind = form(t, part{"file", "", "a string field"})
	files = parseUpload(t, g.do("POST", "/files?path=s.txt&username=user", body, "Content-Type", kind))
	if len(files) != 1 || g.download("s.txt").body != "a string field" {
		t.Errorf("%+v", files)
	}
	body, kind = form(t, part{"other", "x", "x"})
	if a := g.do("POST", "/files", body, "Content-Type", kind); strings.TrimSpace(a.body) != "[]" {
		t.Errorf("a form without files: %d %q", a.status, a.body)
	}
	body, kind = form(t, part{"file", "", "no name"})
	wantError(t, g.do("POST", "/files", body, "Content-Type", kind), 400, "")
	body, kind = form(t, part{"file", "twice", "1"}, part{"file", "~/twice", "2"})
	wantError(t, g.do("POST", "/files", body, "Content-Type", kind), 400, "")
	if g.download("twice").body != "1" {
		t.Error("the first of two equal paths was not written")
	}
	raw, kind := form(t, part{"file", "z.txt", "zipped form"})
	plain, _ := io.ReadAll(raw)
	parseUpload(t, g.do("POST", "/files", strings.NewReader(zip(t, string(plain))), "Content-Type", kind,
		"Content-Encoding", "gzip"))
	if g.download("z.txt").body != "zipped form" {
		t.Error("a gzip form is damaged")
	}
	wantError(t, g.do("POST", "/files", strings.NewReader("--b\r\nbroken"), "Content-Type",
		"multipart/form-data; boundary=b"), 500, "")
}

func TestUploadRefusals(t *testing.T) {
	g := newGuest(t)
	g.write(g.home, "file", "untouched")
	octets := []string{"Content-Type", "application/octet-stream"}
	for name, c := range map[string]struct {
		query   string
		headers []string
		status  int
	}{
		"no path":         {"", octets, 400},
		"directory":       {"?path=.", octets, 400},
		"below a file":    {"?path=file/x", octets, 500},
		"other home":      {"?path=~other/x", octets, 400},
		"unknown user":    {"?path=x&username=nobody-here", octets, 401},
		"empty user":      {"?path=x&username=", octets, 401},
		"content type":    {"?path=x", []string{"Content-Type", "text/plain"}, 400},
		"no content type": {"?path=x", nil, 400},
		"no boundary":     {"?path=x", []string{"Content-Type", "multipart/form-data"}, 400},
		"coding":          {"?path=x", append([]string{"Content-Encoding", "br"}, octets...), 400},
		"not gzip":        {"?path=x", append([]string{"Content-Encoding", "gzip"}, octets...), 400},
		"metadata key too big": {"?path=x", append([]string{"X-Metadata-" + strings.Repeat("k", 247), "v"},
			octets...), 400},
		"metadata too big": {"?path=x", append([]string{"X-Metadata-k", strings.Repeat("v", 4096)},
			octets...), 400},
		"metadata not ascii": {"?path=x", append([]string{"X-Metadata-k", "\xc3\xa4"}, octets...), 400},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, g.do("POST", "/files"+c.query, strings.NewReader("new"), c.headers...), c.status, "")
			if _, err := os.Stat(g.home + "/x"); err == nil {
				t.Error("the file was created")
			}
		})
	}
	a := g.do("POST", "/files?path=x&signature_expiration=soon", strings.NewReader(""), octets...)
	if a.status != 400 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("expiration: %d %q", a.status, a.header.Get("Content-Type"))
	}
	if g.download("file").body != "untouched" {
		t.Error("a refused upload changed a file")
	}
}

func TestConcurrentUploadsIntoANewDirectory(t *testing.T) {
	g := newGuest(t)
	for round := range 10 {
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				if a := g.upload(fmt.Sprintf("r%d/a/b/c/%d", round, i), "x"); a.status != 200 {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		group.Wait()
	}
}

func TestDownload(t *testing.T) {
	g := newGuest(t)
	g.mustUpload("a.txt", "0123456789")
	g.mustUpload("empty", "")
	if err := os.Symlink("a.txt", g.home+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		headers    []string
		status     int
		body       string // "" is not checked
		want       []string
	}{
		{"plain", "a.txt", nil, 200, "0123456789",
			[]string{"Content-Length", "10", "Vary", "Accept-Encoding", "Accept-Ranges", "bytes",
				"Content-Disposition", "inline; filename=a.txt"}},
		{"link", "link", nil, 200, "0123456789", nil},
		{"range", "a.txt", []string{"Range", "bytes=2-4", "Accept-Encoding", "gzip"}, 206, "234",
			[]string{"Content-Encoding", ""}},
		{"bad range", "a.txt", []string{"Range", "bytes=20-"}, 416, "", nil},
		{"range without identity", "a.txt", []string{"Range", "bytes=2-4", "Accept-Encoding",
			"gzip, identity;q=0"}, 406, "", nil},
		{"nothing acceptable", "a.txt", []string{"Accept-Encoding", "br, *;q=0"}, 406, "", nil},
		{"empty", "empty", nil, 200, "", []string{"Content-Length", "0"}},
		{"empty by a gzip client", "empty", []string{"Accept-Encoding", "gzip"}, 200, "",
			[]string{"Content-Length", "0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := g.download(c.path, c.headers...)
			if a.status != c.status || (c.body != "" && a.body != c.body) {
				t.Fatalf("%d %q", a.status, a.body)
			}
			for i := 0; i+1 < len(c.want); i += 2 {
				if got := a.header.Get(c.want[i]); got != c.want[i+1] {
					t.Errorf("%s: %q, want %q", c.want[i], got, c.want[i+1])
				}
			}
		})
	}
	a := g.download("a.txt", "Accept-Encoding", "gzip, deflate, br")
	if a.header.Get("Content-Encoding") != "gzip" || unzip(t, a.body) != "0123456789" {
		t.Errorf("gzip: %v", a.header)
	}
	modified := g.download("a.txt").header.Get("Last-Modified")
	if a := g.download("a.txt", "If-Modified-Since", modified, "Accept-Encoding", "gzip"); a.status != 304 {
		t.Errorf("unchanged file: %d", a.status)
	}
	g.mustUpload("ä ö.txt", "x")
	disposition := g.download("ä ö.txt").header.Get("Content-Disposition")
	if disposition != "inline; filename*=utf-8''%C3%A4%20%C3%B6.txt" {
		t.Errorf("disposition %q", disposition)
	}
	wantError(t, g.download("missing.txt"), 404, "path '"+g.home+"/missing.txt' does not exist")
	wantError(t, g.download(""), 400, "")
	wantError(t, g.download("a.txt/x"), 500, "")
	wantError(t, g.do("GET", "/files?path=a.txt&username=", nil), 401, "")
	fifo := g.home + "/fifo"
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, g.download("fifo"), 400, "")
}

// The kernel's files have content although their size is 0.
func TestDownloadVirtualFile(t *testing.T) {
	g := newGuest(t)
	want, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skip("no boot_id here: ", err)
	}
	if got := g.download("/proc/sys/kernel/random/boot_id").body; got != string(want) {
		t.Errorf("identity: %q", got)
	}
	zipped := g.download("/proc/sys/kernel/random/boot_id", "Accept-Encoding", "gzip")
	if got := unzip(t, zipped.body); got != string(want) {
		t.Errorf("gzip: %q", got)
	}
}

func TestUploadToVirtualFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	g := newGuest(t)
	path := fmt.Sprintf("/proc/%d/coredump_filter", os.Getpid())
	before, err := os.ReadFile(path)
	if err != nil {
		t.Skip("no such file here: ", err)
	}
	t.Cleanup(func() { _ = os.WriteFile(path, append([]byte("0x"), before...), 0) })
	g.mustUpload(path, "0x7")
	if after, _ := os.ReadFile(path); strings.TrimSpace(string(after)) != "00000007" {
		t.Errorf("%q was %q", after, before)
	}
}

func TestMetadata(t *testing.T) {
	g := newGuest(t)
	probe := g.write(g.home, "probe", "")
	if err := unix.Setxattr(probe, "user.e2b.probe", []byte("x"), 0); err != nil {
		t.Skip("no user attributes on this file system: ", err)
	}
	files := parseUpload(t, g.upload("m", "x", "X-Metadata-Author", "me", "X-Metadata-Empty", ""))
	if len(files) != 1 || len(files[0].Metadata) != 2 || files[0].Metadata["author"] != "me" {
		t.Fatalf("%+v", files)
	}
	// Other tools may add metadata; what is not text is left out.
	for name, value := range map[string]string{"user.e2b.tool": "t", "user.e2b.raw": "\xff",
		"user.other": "o"} {
		if err := unix.Setxattr(g.home+"/m", name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	entry := g.mustStat("m")
	if len(entry.GetMetadata()) != 3 || entry.GetMetadata()["tool"] != "t" {
		t.Errorf("metadata %v", entry.GetMetadata())
	}
	if files := parseUpload(t, g.upload("m", "y")); files[0].Metadata != nil {
		t.Errorf("an upload without metadata kept %v", files[0].Metadata)
	}
	if g.mustStat("m").Metadata != nil {
		t.Error("metadata is still there")
	}
	body, kind := form(t, part{"file", "m1", "1"}, part{"file", "m2", "2"})
	for _, f := range parseUpload(t, g.do("POST", "/files", body, "Content-Type", kind, "X-Metadata-K",
		"v")) {
		if f.Metadata["k"] != "v" {
			t.Errorf("%s has %v", f.Name, f.Metadata)
		}
	}
}

func TestCompose(t *testing.T) {
	g := newGuest(t)
	compose := func(body string) answered { return g.do("POST", "/files/compose", strings.NewReader(body)) }
	for _, name := range []string{"1", "2"} {
		g.mustUpload("p"+name, "part "+name+"\n")
	}
	g.mustUpload("old", "old")
	for body, status := range map[string]int{
		`{`:                                     400,
		`{"source_paths":[],"destination":"x"}`: 400,
		`{"source_paths":["p1"]}`:               400,
		`{"source_paths":["p1"],"destination":"~other"}`:                                 400,
		`{"source_paths":["p1"],"destination":"./p1"}`:                                   400,
		`{"source_paths":["p1","missing"],"destination":"old"}`:                          404,
		`{"source_paths":["."],"destination":"old"}`:                                     400,
		`{"source_paths":["p1"],"destination":"old","username":"nobody-here"}`:           401,
		`{"source_paths":["p1","p2"],"destination":"p1/below"}`:                          500,
		`{"source_paths":["p1"],"destination":"` + strings.TrimRight(g.home, "/") + `"}`: 400,
	} {
		if a := compose(body); a.status != status {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if g.download("old").body != "old" || g.download("p1").body != "part 1\n" {
		t.Fatal("a refused compose changed something")
	}
	a := compose(`{"source_paths":["p1","~/p2"],"destination":"all/of/it"}`)
	if want := fmt.Sprintf(`{"name":"it","path":"%s/all/of/it","type":"file"}`, g.home); a.status != 200 ||
		strings.TrimSpace(a.body) != want {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got := g.download("all/of/it").body; got != "part 1\npart 2\n" {
		t.Errorf("content %q", got)
	}
	if uid, mode := g.owner(g.home + "/all/of/it"); uid != g.uid || mode != 0o644 {
		t.Errorf("uid %d, mode %v", uid, mode)
	}
	left, err := filepath.Glob(g.home + "/*")
	if err != nil || len(left) != 2 {
		t.Errorf("left over: %v", left)
	}
}
