package e2e

import "testing"

// TestRestore runs what pauses sandboxes once more where none of them rests in
// memory: each comes back from what was written.
func TestRestore(t *testing.T) {
	r := another(t, "restore", nil, "SHOAL_REST_TIME=0")
	r.node(t, "restore/integrity.test.mjs", "pause.test.mjs", "wake.test.mjs")
}
