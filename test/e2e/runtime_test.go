package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestRuntimeWish builds a template that requires a runtime, and one on top of it. What
// they and a snapshot of a sandbox want is in the store, and the sandboxes run.
func TestRuntimeWish(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(server.DataDir, "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	want := shoal.RuntimeWish{Name: "gvisor", Required: true}
	wants := func(reference string) {
		t.Helper()
		name, _, _ := strings.Cut(reference, ":")
		tpl, err := st.TemplateByAlias(t.Context(), shoal.Alias{Namespace: shoal.DevTeamSlug, Name: name})
		if err != nil {
			tpl.ID = name
		}
		if b, err := st.ReadyBuild(t.Context(), tpl.ID, shoal.DefaultTag); err != nil || b.Runtime != want {
			t.Errorf("%s wants %+v, %v", reference, b.Runtime, err)
		}
	}
	server.buildFrom(t, "wishing", `{"fromTemplate":"base","runtime":{"name":"gvisor","required":true}}`)
	server.buildFrom(t, "wishing-child", `{"fromTemplate":"wishing","steps":[{"type":"RUN","args":["echo x > ~/mark"]}]}`)
	c := server.createOf(t, "wishing-child")
	snapshot, _ := server.snapshot(t, c)
	for _, reference := range []string{"wishing", "wishing-child", snapshot} {
		wants(reference)
	}
	copied := server.createOf(t, snapshot)
	server.read(t, copied, "/home/user/mark", "x\n")
	for _, sb := range []created{c, copied} {
		server.demand(t, 204, "DELETE", "/sandboxes/"+sb.SandboxID, "")
	}
	server.demand(t, 204, "DELETE", "/templates/"+snapshot, "")

	ids := server.register(t, "wishing")
	r := server.refused(t, "build.invalid", "POST", "/v2/templates/"+ids.TemplateID+"/builds/"+ids.BuildID,
		`{"fromTemplate":"base","runtime":{"name":"another"}}`)
	if !strings.Contains(r.Message, "no machine has the runtime 'another', but gvisor") {
		t.Errorf("an unknown runtime: %+v", r)
	}
	for _, name := range []string{"wishing", "wishing-child"} {
		server.demand(t, 204, "DELETE", "/templates/"+name, "")
	}
}

// registration is a build that waits for its start.
type registration struct{ TemplateID, BuildID string }

func (b *box) register(t *testing.T, name string) (ids registration) {
	t.Helper()
	answer := b.demand(t, 202, "POST", "/v3/templates", `{"name":"`+name+`","cpuCount":1,"memoryMB":512}`)
	if err := json.Unmarshal([]byte(answer), &ids); err != nil {
		t.Fatal(err)
	}
	return ids
}

// buildFrom builds a template by the API, and returns when it is ready.
func (b *box) buildFrom(t *testing.T, name, start string) {
	t.Helper()
	ids := b.register(t, name)
	at := "/templates/" + ids.TemplateID + "/builds/" + ids.BuildID
	b.demand(t, 202, "POST", "/v2"+at, start)
	var status string
	eventually(t, 2*time.Minute, "the build of "+name, func() bool {
		_, status = b.call(t, "GET", at+"/status", "")
		return strings.Contains(status, `"status":"ready"`) || strings.Contains(status, `"status":"error"`)
	})
	if !strings.Contains(status, `"status":"ready"`) {
		t.Fatalf("the build of %s: %s", name, status)
	}
}
