package firecracker_test

import (
	"encoding/json"
	"maps"
	"testing"

	"shoal/internal/envdapi"
	"shoal/internal/runtime/runtimetest"
)

// TestLabMetadata: a guest's metadata service says which sandbox it is, also if it was another one's machine before.
func TestLabMetadata(t *testing.T) {
	h, dir := runtimetest.NewHost(t, open(t)), t.TempDir()
	begin := func(id, checkpoint string) *runtimetest.Guest {
		t.Helper()
		spec, slot := h.Spec(id)
		spec.First.Env = envdapi.Facts{SandboxID: "sandbox-" + id, TemplateID: "template", TokenHash: "hash-" + id}.Environ()
		g := h.Boot(spec, slot, checkpoint)
		status, text := g.Ask("/metadata")
		got, want := map[string]string{}, map[string]string{"instanceID": "sandbox-" + id, "envID": "template",
			"address": "http://" + envdapi.HyperloopIP + "/logs", "accessTokenHash": "hash-" + id}
		if err := json.Unmarshal([]byte(text), &got); err != nil || status != 200 || !maps.Equal(got, want) {
			t.Errorf("%d %s (%v), want %v", status, text, err, want)
		}
		return g
	}
	g := begin("first", "")
	if err := g.Checkpoint(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	begin("second", dir)
}
