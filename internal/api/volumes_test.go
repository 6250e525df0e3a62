package api

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
	"shoal/internal/volume"
)

// testVolumes are volumes in a directory of the test's.
func testVolumes(t *testing.T) Volumes {
	t.Helper()
	tokens, err := volume.NewSigner("secret of the tests", "test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return Volumes{Backends: volume.Backends{{Name: "local", Path: dir}}, Tokens: tokens,
		Counters: filepath.Join(dir, "counters")}
}

// newVolume makes a volume and returns its ID and token.
func (w *world) newVolume(name string, headers ...string) (id, token string) {
	w.t.Helper()
	r := w.call("POST", "/volumes", `{"name":"`+name+`"}`, headers...)
	r.wants(w.t, 201, "")
	return r.field(w.t, "volumeID").(string), r.field(w.t, "token").(string)
}

// content makes a request for the content of a volume.
func (w *world) content(token, method, path string, body io.Reader) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+"/volumecontent/"+path, body)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	w.must(err)
	return resp.StatusCode, string(data)
}

// TestVolumes: the statuses and messages of E2B's API.
func TestVolumes(t *testing.T) {
	w := newWorld(t)
	id, _ := w.newVolume("mine")
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"POST", "/volumes", `{"name":"mine"}`, 400, "Volume with name 'mine' already exists"},
		{"POST", "/volumes", `{"name":"not mine"}`, 400, "Invalid volume name"},
		{"POST", "/volumes", `{"name":"` + strings.Repeat("x", 251) + `"}`, 400, "Invalid volume name"},
		{"GET", "/volumes/mine", "", 400, "Invalid volume ID"},
		{"DELETE", "/volumes/mine", "", 400, "Invalid volume ID"},
		{"GET", "/volumes/0198e8a2-0000-7000-8000-000000000000", "", 404, "Volume not found"},
		{"DELETE", "/volumes/0198e8a2-0000-7000-8000-000000000000", "", 404, "Volume not found"},
	} {
		w.call(c.method, c.path, c.body).wants(t, c.status, c.message)
	}
	if list := w.call("GET", "/volumes", ""); strings.TrimSpace(list.body) != `[{"name":"mine","volumeID":"`+id+`"}]` {
		t.Errorf("the list is %s", list.body)
	}
	w.call("DELETE", "/volumes/"+id, "").wants(t, 204, "")
	w.call("GET", "/volumes/"+id, "").wants(t, 404, "Volume not found")
	w.newVolume("mine") // the name is free again
	w.limits(shoal.DevTeamID, map[string]int64{"max-volumes": 1})
	w.call("POST", "/volumes", `{"name":"more"}`).wants(t, 429, "maximum number of volumes")
	w.operate("PUT", "/admin/switches/volumes", `{"on":false}`).wants(t, 200, "")
	w.call("POST", "/sandboxes", `{"templateID":"base","volumeMounts":[{"name":"mine","path":"/v"}]}`).
		wants(t, 400, "Volume mounts are not enabled.")
}

// TestVolumeTokens: a token is for its volume while that exists and volumes are on, and for reading if
// its owner may not write.
func TestVolumeTokens(t *testing.T) {
	w := newWorld(t)
	id, token := w.newVolume("one")
	other, otherToken := w.newVolume("other")
	viewer := w.member(w.trust(), "vic", shoal.DevTeamID, shoal.RoleViewer)
	read := w.call("GET", "/volumes/"+id, "", viewer...)
	read.wants(t, 200, "")
	reader := read.field(t, "token").(string)
	for _, c := range []struct {
		what, token, method, path string
		status                    int
		code                      string
	}{
		{"none", "", "GET", id + "/dir?path=/", 401, "UNAUTHORIZED"},
		{"nonsense", "x.y.z", "GET", id + "/dir?path=/", 401, "UNAUTHORIZED"},
		{"another's", otherToken, "GET", id + "/dir?path=/", 403, "FORBIDDEN"},
		{"its own", token, "GET", id + "/dir?path=/", 200, ""},
		{"a reader's", reader, "GET", id + "/dir?path=/", 200, ""},
		{"a reader's, to write", reader, "POST", id + "/dir?path=/a", 403, "FORBIDDEN"},
		{"its own, to write", token, "POST", id + "/dir?path=/a", 201, ""},
		{"its own, elsewhere", token, "GET", id + "/nothing?path=/a", 404, "ROUTE_NOT_FOUND"},
		{"without a path", token, "GET", id + "/path", 400, "INVALID_PATH"},
		{"too deep", token, "GET", id + "/dir?path=/&depth=11", 400, "DEPTH_OUT_OF_RANGE"},
		{"no number", token, "POST", id + "/dir?path=/b&mode=x", 400, "INVALID_PARAMETER"},
		{"no mode", token, "POST", id + "/dir?path=/b&mode=4096", 400, "INVALID_PARAMETER"},
		{"no owner", token, "POST", id + "/dir?path=/b&uid=4294967295", 400, "INVALID_PARAMETER"},
	} {
		if status, body := w.content(c.token, c.method, c.path, nil); status != c.status ||
			!strings.Contains(body, c.code) {
			t.Errorf("%s: %d %s", c.what, status, body)
		}
	}
	w.call("DELETE", "/volumes/"+other, "").wants(t, 204, "")
	if status, body := w.content(otherToken, "GET", other+"/dir?path=/", nil); status != 404 {
		t.Errorf("of a removed volume: %d %s", status, body)
	}
	w.operate("PUT", "/admin/switches/volumes", `{"on":false}`).wants(t, 200, "")
	if status, body := w.content(token, "GET", id+"/dir?path=/", nil); status != 403 {
		t.Errorf("switched off: %d %s", status, body)
	}
}

// brokenBody ends with an error after some bytes.
type brokenBody struct{ left int }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

// TestVolumeUploads: what breaks off or has no room leaves nothing, and what was there.
func TestVolumeUploads(t *testing.T) {
	w := newWorld(t)
	w.limits(shoal.DevTeamID, map[string]int64{"volume-size": 4})
	id, token := w.newVolume("one")
	put := func(body io.Reader) (int, string) {
		return w.content(token, "PUT", id+"/file?path=/f&force=true", body)
	}
	if status, body := put(strings.NewReader("first")); status != 201 {
		t.Fatalf("put: %d %s", status, body)
	}
	if status, body := put(io.LimitReader(zeros{}, 5<<20)); status != 507 || !strings.Contains(body, "NO_SPACE") {
		t.Errorf("without room: %d %s", status, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), "PUT", w.url+"/volumecontent/"+id+"/file?path=/f&force=true", &brokenBody{1 << 20})
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+token)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("a broken upload: %d", resp.StatusCode)
	}
	w.eventually(func() bool {
		status, body := w.content(token, "GET", id+"/file?path=/f", nil)
		return status == 200 && body == "first"
	})
	dirs, err := filepath.Glob(filepath.Join(w.server.volumes.Backends[0].Path, "team-*", "vol-"+id))
	w.must(err)
	entries, err := os.ReadDir(dirs[0])
	w.must(err)
	if len(entries) != 1 {
		t.Errorf("there is %v", entries)
	}
	// The broken one has its room until the server has read to its end.
	w.eventually(func() bool {
		status, _ := put(io.LimitReader(zeros{}, 3<<20))
		return status == 201
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
