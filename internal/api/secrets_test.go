package api

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"shoal/internal/keyring"
	"shoal/internal/shoal"
)

// testRing has the one key by which worlds seal.
func testRing(t *testing.T) *keyring.Ring {
	t.Helper()
	key, err := keyring.NewLocal("key")
	if err == nil {
		var ring *keyring.Ring
		if ring, err = keyring.New(func() ([]keyring.Key, error) { return []keyring.Key{key}, nil }); err == nil {
			return ring
		}
	}
	t.Fatal(err)
	return nil
}

const hidden = "unmistakable-Value-0123456789"

// encoded are the forms in which a value could be found somewhere.
func encoded(value string) []string {
	list := []string{value, hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value)))}
	for shift := range 3 { // where in a group of three bytes it begins; what surrounds it changes its ends
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + value))
		list = append(list, strings.TrimRight(text, "=")[4:len(strings.TrimRight(text, "="))-4])
	}
	return list
}

// TestSecretsByAPI follows a secret through its life as api.md §3.19 and runtime.md §5.4 have it.
func TestSecretsByAPI(t *testing.T) {
	w := newWorld(t)
	made := w.call("POST", "/secrets", `{"name":"My_Key","value":"`+hidden+`","metadata":{"a":"b"}}`)
	made.wants(t, 201, "")
	id := made.field(t, "secretID").(string)
	if !regexp.MustCompile(`^sec_[0-7][0-9a-hjkmnp-tv-z]{25}$`).MatchString(id) || made.field(t, "name") != "my_key" ||
		made.field(t, "currentVersion") != 1.0 || made.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v", made.body, made.header)
	}
	for _, key := range []string{id, "my_key", "MY_KEY", strings.ToUpper(id)} {
		got := w.call("GET", "/secrets/"+key, "")
		if got.status != 200 || got.field(t, "secretID") != id || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", key, got.status, got.body)
		}
	}
	changed := w.call("POST", "/secrets/my_key", `{"value":"new"}`)
	if changed.status != 200 || changed.field(t, "currentVersion") != 2.0 || !strings.Contains(changed.body, `"a":"b"`) {
		t.Errorf("%d %s", changed.status, changed.body)
	}
	changed = w.call("POST", "/secrets/"+id, `{"value":"new","metadata":{}}`)
	if changed.field(t, "currentVersion") != 3.0 || !strings.Contains(changed.body, `"metadata":{}`) {
		t.Error(changed.body)
	}
	again := w.call("POST", "/secrets", `{"name":"my_KEY","value":"v"}`)
	again.wants(t, 409, "Secret cannot be modified in its current state")
	if again.header.Get("Cache-Control") != "no-store" || again.header.Get("Should-Retry") != "false" {
		t.Error(again.header)
	}
	w.call("POST", "/secrets", `{"name":"second","value":"v"}`).wants(t, 201, "")
	w.call("POST", "/secrets", `{"name":"third","value":"v"}`).wants(t, 201, "")
	page := w.call("GET", "/secrets?limit=2", "")
	var list []map[string]any
	page.json(t, &list)
	next := page.header.Get("X-Next-Token")
	if len(list) != 2 || list[0]["name"] != "third" || next == "" {
		t.Errorf("%s %q", page.body, next)
	}
	page = w.call("GET", "/secrets?limit=2&nextToken="+next, "")
	page.json(t, &list)
	if len(list) != 1 || list[0]["name"] != "my_key" || page.header.Get("X-Next-Token") != "" {
		t.Error(page.body)
	}
	w.call("DELETE", "/secrets/my_key", "").wants(t, 204, "")
	for _, method := range []string{"DELETE", "GET"} {
		gone := w.call(method, "/secrets/"+id, "")
		gone.wants(t, 404, "Secret not found")
		if gone.field(t, "code") != 404.0 {
			t.Error(gone.body)
		}
	}
}

// TestSecretRefusals: what cannot be a secret is refused in E2B's words, and no answer quotes a value.
func TestSecretRefusals(t *testing.T) {
	w := newWorld(t)
	text := func(n int) string { return strings.Repeat("x", n) }
	entries := func(n int) string {
		metadata := map[string]string{}
		for i := range n {
			metadata[fmt.Sprint("k", i)] = ""
		}
		body, _ := json.Marshal(metadata)
		return string(body)
	}
	for body, status := range map[string]int{
		`{"name":"` + text(128) + `","value":"` + text(shoal.MaxSecretValue) + `"}`: 201,
		`{"name":"` + text(129) + `","value":"` + hidden + `"}`:                     400,
		`{"name":"","value":"` + hidden + `"}`:                                      400,
		`{"name":"a b","value":"` + hidden + `"}`:                                   400,
		`{"name":"Sec_a","value":"` + hidden + `"}`:                                 400,
		`{"name":"n","value":""}`:                                                   400,
		`{"name":"n","value":["` + hidden + `"]}`:                                   400,
		`{"name":"n","value":{"` + hidden + `":1}}`:                                 400,
		`{"name":["` + hidden + `"],"value":"v"}`:                                   400,
		`{"name":"n","value":"` + hidden + `"`:                                      400,
		`{"value":"` + hidden + `"}`:                                                400,
		`{"name":"n","value":"` + hidden + text(shoal.MaxSecretValue) + `"}`:        400,
		`{"name":"m1","value":"v","metadata":` + entries(32) + `}`:                  201,
		`{"name":"m2","value":"` + hidden + `","metadata":` + entries(33) + `}`:     400,
		`{"name":"m3","value":"v","metadata":{"` + text(129) + `":""}}`:             400,
		`{"name":"m4","value":"v","metadata":{"k":"` + text(1025) + `"}}`:           400,
		`{"name":"m5","value":"v","metadata":{"k":{"` + hidden + `":1}}}`:           400,
		`{"name":"big","value":"` + text(513<<10) + `"}`:                            413,
	} {
		r := w.call("POST", "/secrets", body)
		if r.status != status {
			t.Errorf("%.80s: %d %s", body, r.status, r.body)
		}
		if status == 400 && r.field(t, "message") != "Invalid secrets request" {
			t.Errorf("%.80s: %s", body, r.body)
		}
		if strings.Contains(r.body, hidden) {
			t.Errorf("%.80s: the answer quotes it: %s", body, r.body)
		}
	}
	w.call("POST", "/secrets/nothing", `{"value":"v"}`).wants(t, 404, "Secret not found")
	if strings.Contains(w.log.String(), hidden) {
		t.Error("the log quotes it")
	}
}

// TestSecretLimit: as many as the team may, and one more when one is gone.
func TestSecretLimit(t *testing.T) {
	w := newWorld(t)
	w.limits(shoal.DevTeamID, map[string]int64{"secrets": 1})
	w.call("POST", "/secrets", `{"name":"a","value":"v"}`).wants(t, 201, "")
	full := w.call("POST", "/secrets", `{"name":"b","value":"v"}`)
	full.wants(t, 429, "maximum number of secrets (1)")
	if full.field(t, "error_code") != "secret_limit_reached" || full.header.Get("Should-Retry") != "false" {
		t.Errorf("%s %v", full.body, full.header)
	}
	w.call("DELETE", "/secrets/a", "").wants(t, 204, "")
	w.call("POST", "/secrets", `{"name":"b","value":"v"}`).wants(t, 201, "")
}

// TestNoTraceOfSecrets: after all that can be done with a secret, its value is in no file of the api,
// not in its log and not in the audit log, in no encoding.
func TestNoTraceOfSecrets(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/secrets", `{"name":"key","value":"`+hidden+`"}`).wants(t, 201, "")
	w.call("POST", "/secrets/key", `{"value":"`+hidden+`"}`).wants(t, 200, "")
	w.call("GET", "/secrets/key", "").wants(t, 200, "")
	sandbox := w.withTransform(`${e2b.secrets.key}`)
	asked := shoal.Fill{SandboxID: sandbox, Domain: "api.example.com",
		Wanted: []shoal.Placeholder{{Kind: shoal.PlaceholderSecret, Name: "key"}}}
	if got, err := w.server.fill(t.Context(), w.node, asked); err != nil || got[asked.Wanted[0]] != hidden {
		t.Fatal(err)
	}
	w.must(w.store.Reseal(t.Context(), true, func(int) {}))
	w.call("DELETE", "/sandboxes/"+sandbox, "").wants(t, 204, "")
	w.must(w.trail.Close(t.Context()))
	audit := w.call("GET", "/admin/audit", "", "X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken)
	files := map[string]string{"the log": w.log.String(), "the audit log": audit.body}
	for _, dir := range []string{w.dir, w.data} {
		w.must(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				var data []byte
				data, err = os.ReadFile(path)
				files[path] = string(data)
			}
			return err
		}))
	}
	for shift := range 3 { // or else the search would find nothing anywhere
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("y", shift) + hidden + "z"))
		if !slices.ContainsFunc(encoded(hidden), func(form string) bool { return strings.Contains(text, form) }) {
			t.Errorf("%s is not found", text)
		}
	}
	if len(files) < 3 {
		t.Errorf("only %d places were searched", len(files))
	}
	for name, text := range files {
		for _, form := range encoded(hidden) {
			if strings.Contains(text, form) {
				t.Errorf("%s has the value as %s", name, form)
			}
		}
	}
}
