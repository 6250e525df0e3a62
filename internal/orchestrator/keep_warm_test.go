package orchestrator

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"shoal/internal/shoal"
)

// warmed is a machine that keeps guests started ahead.
func warmed(t *testing.T, count int) *node {
	t.Helper()
	n := newNode(t)
	n.close() // its keeper looks at the configuration as it runs
	n.warm = map[string]int{"t": count}
	n.open()
	n.eventually("guests are started ahead", func() bool { return n.orch.keeper.warm.Size() >= count })
	return n
}

// TestClaim: a client cannot tell a guest that was started ahead.
func TestClaim(t *testing.T) {
	n := warmed(t, 2)
	ctx := context.Background()
	spec := n.spec()
	spec.Metadata, spec.Network.DenyOut = map[string]string{"k": "v"}, []string{"0.0.0.0/0"}
	before := time.Now()
	sb, err := n.orch.Create(ctx, spec)
	n.must(err)
	if !strings.HasPrefix(n.orch.table.byID[sb.SandboxID].guest.ID(), "warm-") {
		t.Fatal("the create took a new guest")
	}
	if sb.StartedAt.Before(before) || sb.EndAt.Sub(sb.StartedAt) != spec.Timeout || sb.Metadata["k"] != "v" {
		t.Errorf("created: %+v", sb)
	}
	if got := n.read(sb, "/run/e2b/.E2B_SANDBOX_ID"); got != sb.SandboxID {
		t.Errorf("it knows itself as %q", got)
	}
	if envs := n.envs(sb); envs["FROM_CLIENT"] != "2" || envs["FROM_NODE"] != "1" || envs["E2B_TEMPLATE_ID"] != "t" {
		t.Errorf("environment: %v", envs)
	}
	wrong := sb
	wrong.EnvdAccessToken = "other"
	if n.answersTo(wrong, "other") {
		t.Error("the daemon takes any token")
	}
	// It lives on as any other: paused, resumed, adopted.
	n.write(sb, "/root/kept", "x")
	n.pause(sb)
	sb = n.resume(sb)
	n.close()
	n.open()
	n.pause(sb)
	n.rested(sb)
	if got := n.read(n.resume(sb), "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
	// Other resources than the guests ahead have.
	spec = n.spec()
	spec.Resources.MemoryMB *= 2
	other, err := n.orch.Create(ctx, spec)
	n.must(err)
	if strings.HasPrefix(n.orch.table.byID[other.SandboxID].guest.ID(), "warm-") {
		t.Error("a guest of other resources was taken")
	}
	// A refused create takes none.
	n.eventually("they are replaced", func() bool { return n.orch.keeper.warm.Size() == 2 })
	spec = n.spec()
	spec.Network.DenyOut = []string{"nonsense"}
	if _, err := n.orch.Create(ctx, spec); !shoal.ErrNetworkPolicy.Matches(err) || n.orch.keeper.warm.Size() != 2 {
		t.Errorf("%v, %d left", err, n.orch.keeper.warm.Size())
	}
}

// TestWarmGuestsAreKeptAndDrained: the dead are replaced, and nothing is left of
// the others at the end.
func TestWarmGuestsAreKeptAndDrained(t *testing.T) {
	n := warmed(t, 2)
	for _, pid := range n.kernels("warm") {
		p, err := os.FindProcess(pid)
		n.must(err)
		n.must(p.Kill())
	}
	n.eventually("the dead are replaced", func() bool {
		return n.orch.keeper.warm.Ready("t-build") == 2
	})
	var wg sync.WaitGroup
	for range 6 { // more than there are
		wg.Go(func() {
			if _, err := n.orch.Create(context.Background(), n.spec()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n.eventually("they are replaced", func() bool { return n.orch.keeper.warm.Size() >= 2 })
	n.must(n.orch.KillAll(context.Background(), shoal.KillDown))
	n.close()
	if left := n.liveKernels("warm"); len(left) != 0 {
		t.Errorf("guests are left: %v", left)
	}
	n.warm = nil
	n.open()
}

// TestMemoryPressure: what was started ahead, and what rests, gives its memory back, and
// nothing is started ahead until there is memory again.
func TestMemoryPressure(t *testing.T) {
	n := newNode(t)
	n.close()
	var short atomic.Bool
	n.warm, n.shells, n.rest = map[string]int{"t": 2}, 1, longRest
	n.memory = func() (available, total int64, err error) {
		if short.Load() {
			return 5 << 30, 100 << 30, nil
		}
		return 50 << 30, 100 << 30, nil
	}
	n.open()
	full := func() bool { return n.orch.keeper.warm.Size() == 2 && len(n.liveKernels("shell")) > 0 }
	n.eventually("guests and kernels are started ahead", full)
	sb := n.create()
	n.write(sb, "/root/kept", "x")
	n.pause(sb)
	n.eventually("they are replaced", full)
	short.Store(true)
	n.eventually("they and the resting guest end", func() bool {
		return n.orch.keeper.warm.Size() == 0 && len(n.liveKernels("warm"))+len(n.liveKernels("shell"))+len(n.liveKernels(sb.SandboxID)) == 0
	})
	sb = n.resume(sb)
	if got := n.read(sb, "/root/kept"); got != "x" || sb.ColdBoot {
		t.Errorf("the file: %q, cold boot %v", got, sb.ColdBoot)
	}
	if len(n.liveKernels("warm")) != 0 {
		t.Error("guests are started ahead without memory")
	}
	short.Store(false)
	n.eventually("they come back", full)
}

// TestNewBuildDrainsTheOld: of a template that guests are kept of, only the present build
// has them, also when an older build is heard of later.
func TestNewBuildDrainsTheOld(t *testing.T) {
	n := warmed(t, 2)
	newer := n.build
	newer.ID, newer.CreatedAt = "t-newer", n.build.CreatedAt.Add(time.Hour)
	n.orch.AddBuild(newer)
	n.orch.AddBuild(n.build)
	of := n.orch.keeper.warm.Ready
	n.eventually("the new build's take their place", func() bool { return of("t-newer") == 2 && of("t-build") == 0 })
	n.eventually("the old ones end", func() bool { return len(n.liveKernels("warm")) == 2 })
	n.orch.builds.drop("t-newer")
	n.eventually("without it the old one is the present one", func() bool { return of("t-build") == 2 && of("t-newer") == 0 })
}

// TestWarmGuestsOfASnapshot have the memory of the snapshot and the identity of
// whoever claims them.
func TestWarmGuestsOfASnapshot(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	source := n.create()
	n.write(source, "/root/shared", "one")
	build, err := n.orch.Snapshot(ctx, source.SandboxID, shoal.SnapshotTarget{TemplateID: "snap", BuildID: shoal.NewBuildID()})
	n.must(err)
	n.close()
	n.warm = map[string]int{"snap": 1}
	n.open()
	n.eventually("one is started ahead", func() bool { return n.orch.keeper.warm.Size() == 1 })
	spec := n.spec()
	spec.BuildID, spec.TemplateID, spec.EnvdAccessToken, spec.EnvVars = build.ID, "snap", "another", nil
	sb, err := n.orch.Create(ctx, spec)
	n.must(err)
	if !strings.HasPrefix(n.orch.table.byID[sb.SandboxID].guest.ID(), "warm-") {
		t.Fatal("the create took a new guest")
	}
	if got := n.read(sb, "/root/shared"); got != "one" {
		t.Errorf("the file: %q", got)
	}
	if envs := n.envs(sb); envs["E2B_SANDBOX_ID"] != sb.SandboxID || envs["FROM_CLIENT"] != "2" {
		t.Errorf("environment: %v", envs)
	}
	if n.answersTo(sb, "secret") {
		t.Error("it takes the token of the sandbox that it was made of")
	}
	n.must(n.orch.RemoveBuild(ctx, build.ID))
	n.eventually("the removed build's guests end", func() bool { return n.orch.keeper.warm.Size() == 0 })
}

// TestTurns: there are as many turns as processors, they are given in order, and one
// that hangs is given on.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a slow machine ends no turn early
		turns := newTurns()
		var first []func()
		for range cap(turns) {
			done, err := turns.take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			first = append(first, done)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := turns.take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("one turn more than there are: %v", err)
		}
		first[0]()
		first[0]() // ends nobody else's
		next, err := turns.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer next()
		if len(turns) != cap(turns) {
			t.Errorf("%d turns are taken, want %d", len(turns), cap(turns))
		}
		// None ends its turn, so this one comes when a limit is reached.
		late, err := turns.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		late()
	})
}
