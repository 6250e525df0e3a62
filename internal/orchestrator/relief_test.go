package orchestrator

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"shoal/internal/envdapi/client"
	"shoal/internal/runtime/runtimetest"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
)

// withHolder makes a build of the node's image and /bin/hold, which holds so many MiB.
func (n *node) withHolder() shoal.Build {
	n.t.Helper()
	b := n.build
	b.ID, b.TemplateID = "holder-build", "holder"
	b.Layers = []string{n.build.ImageDigest, n.layer("bin/hold", runtimetest.GuestProgram)}
	n.orch.AddBuild(b)
	return b
}

// hold runs a process that holds so many MiB, and returns when it does. Its end is sent.
func (n *node) hold(sb shoal.Sandbox, mb int) (ended <-chan error) {
	n.t.Helper()
	in, err := n.orch.table.find(sb.SandboxID)
	n.must(err)
	ready, end := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		end <- in.guest.Client(sb.EnvdAccessToken).Run(context.Background(),
			client.Command{User: "root", Args: []string{"/bin/hold", strconv.Itoa(mb)}}, nil,
			func(bool, []byte) { ready <- struct{}{} })
	}()
	select {
	case <-ready:
	case err := <-end:
		n.t.Fatalf("it could not hold %d MiB: %v", mb, err)
	}
	return end
}

// held is what the host cannot take back from all guests, in bytes.
func (n *node) held() (sum int64) {
	for _, sb := range n.orch.table.all() {
		sb.mu.Lock()
		own, settled := sb.guest, sb.current == nil
		sb.mu.Unlock()
		if own != nil && settled {
			stats, _ := own.Stats(context.Background())
			sum += stats.HeldBytes
		}
	}
	return sum
}

// TestGreediestProcessEnds: a machine that runs out of memory ends what rests, and then the
// largest process of the guest that holds most, and no sandbox.
func TestGreediestProcessEnds(t *testing.T) {
	n := newNode(t)
	n.close()
	logs, err := sandboxlog.Open(t.Context(), filepath.Join(n.dir, "logs.db"), n.log)
	n.must(err)
	defer logs.Close()
	var watched atomic.Bool
	n.rest, n.logs = longRest, logs
	n.memory = func() (available, total int64, err error) {
		const of = 64 << 30
		if watched.Load() && n.held() > 250<<20 {
			return of/(2*scarcity) - 1, of, nil
		}
		return of / 2, of, nil
	}
	n.open()
	b := n.withHolder()
	modest, greedy, resting := n.createOf(b, "modest"), n.createOf(b, "greedy"), n.createOf(b, "resting")
	goesOn := n.hold(modest, 80)
	ends := n.hold(greedy, 160)
	n.pause(resting)
	watched.Store(true)
	if exit := (*client.ExitError)(nil); !errors.As(<-ends, &exit) || exit.Status != "signal: killed" {
		t.Errorf("the greedy process ended with %v", exit)
	}
	n.eventually("there is memory again, and what rested has ended", func() bool {
		return n.held() < 250<<20 && len(n.liveKernels(resting.SandboxID)) == 0
	})
	select {
	case err := <-goesOn:
		t.Errorf("the modest process ended too: %v", err)
	default:
	}
	for _, sb := range []shoal.Sandbox{modest, greedy, n.resume(resting)} {
		if !n.answers(sb) {
			t.Errorf("sandbox %s does not answer", sb.SandboxID)
		}
	}
	lines, err := n.orch.Logs(t.Context(), greedy.SandboxID, greedy.TeamID, shoal.LogQuery{Limit: 100})
	n.must(err)
	said := false
	for _, line := range lines {
		said = said || strings.Contains(line.Message, "ran out of memory") && line.Fields["name"] == "hold"
	}
	if !said {
		t.Errorf("the sandbox's log does not say it: %v", lines)
	}
}
