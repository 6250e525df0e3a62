package e2e

import "testing"

// TestRestore repeats the suites that pause sandboxes, with no guest resting in memory:
// each is restored from what was written.
func TestRestore(t *testing.T) {
	r := another(t, "restore", nil, "SHOAL_REST_TIME=0")
	r.node(t, "restore/integrity.test.mjs", "pause.test.mjs", "wake.test.mjs")
}
