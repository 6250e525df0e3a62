package e2e

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestCommands runs the small subcommands.
func TestCommands(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	expect := func(want string, args ...string) string {
		t.Helper()
		out, err := server.Run(ctx, args...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("shoal %s: %v\n%s\nwant %q in it", strings.Join(args, " "), err, out, want)
		}
		return out
	}
	expect("gVisor v0.0.0", "version")
	expect("instance = e2e", "check")
	expect("in use by a running shoal", "doctor")
	expect("development", "key", "list")
	key := strings.TrimSpace(expect("e2b_", "key", "create", "for-a-test"))
	if out := expect("for-a-test", "key", "list"); strings.Contains(out, key) {
		t.Error("the list shows a whole key")
	}
	if out, err := server.Run(ctx, "up"); err == nil || !strings.Contains(out, "in use by process") ||
		!strings.Contains(out, "shoal up") {
		t.Errorf("a second up on the same ports: %v %s", err, out)
	}
	if out, err := server.Run(ctx, "check", "--api-listen=0.0.0.0:1"); err == nil ||
		!strings.Contains(out, "not a loopback address") {
		t.Errorf("--dev on every address: %v %s", err, out)
	}
}
