package orchestrator

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/sentry/state/checkpointfiles"

	"shoal/internal/guest"
	"shoal/internal/shoal"
)

// TestForkWaitsForACheckpointThatWasLeft: a guest that was taken over may still be writing a
// checkpoint for the process before. Another one begins only after that.
func TestForkWaitsForACheckpointThatWasLeft(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	n.write(sb, "/root/large", strings.Repeat("x", 40<<20))
	own, err := n.orch.table.find(sb.SandboxID)
	n.must(err)
	before, dir := own.guest, t.TempDir()
	left := make(chan error, 1)
	go func() { left <- before.Checkpoint(ctx, dir) }()
	written := func() int64 {
		info, err := os.Stat(filepath.Join(dir, checkpointfiles.PagesFileName))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	for end := time.Now().Add(20 * time.Second); written() == 0; {
		if time.Now().After(end) {
			t.Fatal("no checkpoint is under way")
		}
	}
	view := own.viewNow()
	adopted, err := n.orch.host.Adopt(ctx, before.Identity(), guest.Plan{Resources: view.Resources, Facts: factsOf(view)})
	n.must(err)
	own.mu.Lock()
	own.guest = adopted
	own.mu.Unlock()
	var then int64
	n.must(copier{n.orch}.standStill(ctx, sb.SandboxID, "forked", nil, func(*sandbox, *guest.Guest) error {
		then = written()
		return nil
	}))
	n.must(<-left)
	if all := written(); then != all {
		t.Errorf("the next one began when %d of %d bytes were written", then, all)
	}
	forked := n.spec()
	forked.EnvdAccessToken, forked.EnvVars = "third", nil
	results, err := n.orch.Fork(ctx, sb.SandboxID, []shoal.Spec{forked})
	n.must(err)
	n.must(results[0].Err)
}
