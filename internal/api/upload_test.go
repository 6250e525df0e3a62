package api

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

var filesHash = strings.Repeat("0a1b", 16)

// link asks for the upload link of a hash.
func (w *world) link(reg registration, hash string, headers ...string) (present bool, link string) {
	w.t.Helper()
	r := w.call("GET", "/templates/"+reg.TemplateID+"/files/"+hash, "", headers...)
	if r.status != 201 {
		w.t.Fatalf("%d %s", r.status, r.body)
	}
	var answer struct {
		Present bool
		URL     string
	}
	r.json(w.t, &answer)
	return answer.Present, answer.URL
}

// send sends a body to a link without any credentials.
func (w *world) send(method, link string, body io.Reader) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, link, body)
	w.must(err)
	return w.do(req)
}

func (w *world) stored(scope, hash string) string {
	w.t.Helper()
	f, err := w.server.builds.Files.Open(scope, hash)
	w.must(err)
	defer f.Close()
	data, err := io.ReadAll(f)
	w.must(err)
	return string(data)
}

func TestUpload(t *testing.T) {
	w := newWorld(t)
	reg, other := w.register(`{"name":"web"}`), w.register(`{"name":"other-template"}`)
	present, link := w.link(reg, filesHash)
	if present || !strings.HasPrefix(link, w.url+"/upload?") {
		t.Fatalf("%v %s", present, link)
	}
	r := w.send("PUT", link, strings.NewReader("any bytes"))
	r.wants(t, 200, "")
	if r.header.Get("Content-Length") != "0" {
		t.Errorf("%v", r.header)
	}
	if got := w.stored(shoal.DevTeamID, filesHash); got != "any bytes" {
		t.Errorf("%q", got)
	}
	// The team's other templates have it, too; another team does not.
	if present, again := w.link(other, filesHash); !present || again == "" {
		t.Errorf("%v %q", present, again)
	}
	theirs := w.register(`{"name":"web"}`, "X-API-Key", otherKey)
	if present, _ := w.link(theirs, filesHash, "X-API-Key", otherKey); present {
		t.Error("another team sees the files")
	}
	w.send("PUT", link, io.MultiReader(strings.NewReader("without "), strings.NewReader("a length"))).wants(t, 200, "")
	if got := w.stored(shoal.DevTeamID, filesHash); got != "without a length" {
		t.Errorf("%q", got)
	}
	if strings.Contains(w.log.String(), "token=") {
		t.Error("links are in the log")
	}
}

func TestUploadLinkRefusals(t *testing.T) {
	w := newWorld(t)
	reg := w.register(`{"name":"web"}`)
	for _, hash := range []string{"x", strings.Repeat("A", 64), filesHash + "0", "..%2F" + filesHash[:61], strings.Repeat("g", 64)} {
		w.call("GET", "/templates/"+reg.TemplateID+"/files/"+hash, "").wants(t, 400, "Invalid files hash")
	}
	w.call("GET", "/templates/nothing/files/"+filesHash, "").wants(t, 404, "Template 'nothing' not found")
	w.call("GET", "/templates/web/files/"+filesHash, "").wants(t, 404, "Template 'web' not found")
	w.call("GET", "/templates/"+reg.TemplateID+"/files/"+filesHash, "", "X-API-Key", otherKey).wants(t, 404, "not found")
	w.call("GET", "/templates/"+reg.TemplateID+"/files/"+filesHash, "", "X-API-Key", "").wants(t, 401, "")
}

func TestUploadRefusals(t *testing.T) {
	w := newWorld(t)
	reg := w.register(`{"name":"web"}`)
	_, link := w.link(reg, filesHash)
	good, err := url.Parse(link)
	w.must(err)
	with := func(change func(url.Values)) string {
		u, q := *good, good.Query()
		change(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	signed := func(path string, expires time.Time) string {
		return with(func(q url.Values) {
			q.Set("path", path)
			q.Set("expires", strconv.FormatInt(expires.Unix(), 10))
			q.Set("token", w.server.tokens.Upload(path, expires.Unix()))
		})
	}
	soon := time.Now().Add(time.Minute)
	for _, c := range []struct {
		name, method, link string
		status             int
		message            string
	}{
		{"GET", "GET", link, 405, "Method GET is not allowed"},
		{"POST", "POST", link, 405, "Method POST is not allowed"},
		{"no query", "PUT", w.url + "/upload", 400, "An upload needs path, expires and token"},
		{"no token", "PUT", with(func(q url.Values) { q.Del("token") }), 400, "An upload needs"},
		{"odd expires", "PUT", with(func(q url.Values) { q.Set("expires", "soon") }), 400, "An upload needs"},
		{"wrong token", "PUT", with(func(q url.Values) { q.Set("token", strings.Repeat("0", 64)) }), 403, "Invalid upload token"},
		{"longer life", "PUT", with(func(q url.Values) { q.Set("expires", "9999999999") }), 403, "Invalid upload token"},
		{"other file", "PUT", with(func(q url.Values) { q.Set("path", q.Get("path")+"x") }), 403, "Invalid upload token"},
		{"expired", "PUT", signed(uploadKey(shoal.DevTeamID, filesHash), time.Now().Add(-2*time.Second)), 403, "expired"},
		{"no archive", "PUT", signed(shoal.DevTeamID+"/files/x", soon), 400, "Invalid upload path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.send(c.method, c.link, strings.NewReader("x"))
			r.wants(t, c.status, c.message)
			if c.status == 405 && r.header.Get("Allow") != "PUT" {
				t.Errorf("%v", r.header)
			}
		})
	}
	w.send("PUT", link, strings.NewReader(strings.Repeat("x", testUploadLimit+1))).wants(t, 413, "larger than")
	w.send("PUT", link, io.MultiReader(strings.NewReader(strings.Repeat("x", testUploadLimit)), strings.NewReader("x"))).wants(t, 413, "larger than")
	if present, _ := w.link(reg, filesHash); present {
		t.Error("a refused upload was kept")
	}
	w.send("PUT", link, strings.NewReader(strings.Repeat("x", testUploadLimit))).wants(t, 200, "")
}

// TestBrokenUpload: what did not arrive whole is not there, and leaves no litter.
func TestBrokenUpload(t *testing.T) {
	w := newWorld(t)
	reg := w.register(`{"name":"web"}`)
	_, link := w.link(reg, filesHash)
	u, err := url.Parse(link)
	w.must(err)
	conn, err := net.Dial("tcp", u.Host)
	w.must(err)
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this", u.RequestURI())
	w.must(conn.(*net.TCPConn).CloseWrite())
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		if resp.Body.Close(); resp.StatusCode != 400 {
			t.Errorf("%s", resp.Status)
		}
	}
	w.eventually(func() bool { return strings.Contains(w.log.String(), "upload.broken") })
	if present, _ := w.link(reg, filesHash); present {
		t.Error("a broken upload was kept")
	}
	dir, err := os.ReadDir(w.data + "/files/" + shoal.DevTeamID)
	if err != nil || len(dir) != 0 {
		t.Errorf("%v %v", dir, err)
	}
}

// TestConcurrentUploads: of several uploads of one hash at once, one is there whole.
func TestConcurrentUploads(t *testing.T) {
	w := newWorld(t)
	reg := w.register(`{"name":"web"}`)
	_, link := w.link(reg, filesHash)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			body := strings.NewReader(strings.Repeat(strconv.Itoa(i), testUploadLimit))
			if r := w.send("PUT", link, body); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	if got := w.stored(shoal.DevTeamID, filesHash); len(got) != testUploadLimit || strings.Count(got, got[:1]) != len(got) {
		t.Error("the uploads were mixed")
	}
}

// TestUploadOutlivesRequestLimits: the server's read timeout does not hold for an
// upload whose bytes keep coming.
func TestUploadOutlivesRequestLimits(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewUnstartedServer(w.server)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = time.Second, time.Second
	srv.Start()
	defer srv.Close()
	reg := w.register(`{"name":"web"}`)
	_, link := w.link(reg, filesHash)
	u, err := url.Parse(link)
	w.must(err)
	body, feed := io.Pipe()
	go func() {
		for range 4 {
			time.Sleep(400 * time.Millisecond) // the slowness is the point
			fmt.Fprint(feed, "slow ")
		}
		feed.Close()
	}()
	w.send("PUT", srv.URL+u.RequestURI(), body).wants(t, 200, "")
	if got := w.stored(shoal.DevTeamID, filesHash); got != strings.Repeat("slow ", 4) {
		t.Errorf("%q", got)
	}
}

// TestUploadAddress: a link leads where the client reached the API. Nobody may
// lead it elsewhere with a header.
func TestUploadAddress(t *testing.T) {
	w := newWorld(t)
	reg := w.register(`{"name":"web"}`)
	ask := func(change func(*http.Request)) string {
		r := httptest.NewRequest("GET", "http://api.example:8443/templates/"+reg.TemplateID+"/files/"+filesHash, nil)
		r.Header.Set("X-API-Key", shoal.DevAPIKey)
		r.Header.Set("X-Forwarded-Host", "evil.example")
		r.Header.Set("X-Forwarded-Proto", "gopher")
		change(r)
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		var answer struct{ URL string }
		reply{body: rec.Body.String()}.json(t, &answer)
		return answer.URL
	}
	if got := ask(func(*http.Request) {}); !strings.HasPrefix(got, "http://api.example:8443/upload?") {
		t.Error(got)
	}
	if got := ask(func(r *http.Request) { r.TLS = &tls.ConnectionState{} }); !strings.HasPrefix(got, "https://api.example:8443/upload?") {
		t.Error(got)
	}
	w.server.publicURL = "https://public.example/api"
	if got := ask(func(*http.Request) {}); !strings.HasPrefix(got, "https://public.example/api/upload?") {
		t.Error(got)
	}
}
