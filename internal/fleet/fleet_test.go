package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

var (
	build   = shoal.Build{ID: "b1", TemplateID: "base", Status: shoal.BuildReady, CreatedAt: time.Unix(1, 0)}
	discard = slog.New(slog.DiscardHandler)
)

func newFleet(t *testing.T, nodes ...*fleettest.Node) *Fleet {
	t.Helper()
	cfg := Config{}
	for _, n := range nodes {
		cfg.Nodes = append(cfg.Nodes, n)
	}
	f := New(cfg, discard)
	_ = f.Sync(t.Context())
	return f
}

func spec(team string) shoal.Spec {
	return shoal.Spec{SandboxID: shoal.NewSandboxID(), TeamID: team, BuildID: build.ID, Timeout: time.Minute,
		MaxLength: time.Hour, Resources: shoal.Resources{CPUCount: 2}}
}

func atOnce(n int) shoal.TeamLimits {
	return shoal.TeamLimits{ConcurrentSandboxes: n, Sandboxes: 1000}
}

func refuse(err error) func(context.Context, shoal.Spec) error {
	return func(context.Context, shoal.Spec) error { return err }
}

func TestPlaceErrors(t *testing.T) {
	unreachable := shoal.ErrNodeUnreachable.New("no route")
	capacity := shoal.ErrCapacity.New("the machine runs 5 sandboxes, its maximum")
	cases := map[string]struct {
		nodes  func() []*fleettest.Node
		kind   *shoal.Kind
		prefix string
		cause  string
	}{
		"no machine": {func() []*fleettest.Node { return nil },
			shoal.ErrNoNode, "Failed to place sandbox: no compatible node", "no machine is configured"},
		"build not there": {func() []*fleettest.Node { return []*fleettest.Node{fleettest.New("n1")} },
			shoal.ErrNoNode, "Failed to place sandbox: no compatible node", "machine n1 does not have build b1"},
		"required runtime not there": {func() []*fleettest.Node {
			b := build
			b.Runtime = shoal.RuntimeWish{Name: "another", Required: true}
			return []*fleettest.Node{fleettest.New("n1", b)}
		}, shoal.ErrNoNode, "Failed to place sandbox: no compatible node", "not the runtime that it requires"},
		"down": {func() []*fleettest.Node {
			n := fleettest.New("n1", build)
			n.SetDown(unreachable)
			return []*fleettest.Node{n}
		}, shoal.ErrCapacity, "Failed to place sandbox: not enough capacity", "machine node 1 does not answer"},
		"draining": {func() []*fleettest.Node {
			n := fleettest.New("n1", build)
			n.Change(func(i *shoal.NodeInfo) { i.Status = shoal.NodeDraining })
			return []*fleettest.Node{n}
		}, shoal.ErrCapacity, "Failed to place sandbox: not enough capacity", "machine n1 is draining"},
		"full": {func() []*fleettest.Node {
			n := fleettest.New("n1", build)
			n.OnCreate(refuse(capacity))
			return []*fleettest.Node{n}
		}, shoal.ErrCapacity, "Failed to place sandbox: not enough capacity", "machine n1: the machine runs 5 sandboxes"},
		"image missing": {func() []*fleettest.Node {
			n := fleettest.New("n1", build)
			n.OnCreate(refuse(shoal.ErrImageMissing.New("gone")))
			return []*fleettest.Node{n}
		}, shoal.ErrNoNode, "Failed to place sandbox: no compatible node", "machine n1: gone"},
		"no volume anywhere": {func() []*fleettest.Node {
			a, b := fleettest.New("n1", build), fleettest.New("n2", build)
			a.OnCreate(refuse(shoal.ErrVolumeUnavailable.New("not here")))
			b.OnCreate(refuse(shoal.ErrVolumeUnavailable.New("not here")))
			return []*fleettest.Node{a, b}
		}, shoal.ErrVolumeUnavailable, "Failed to place sandbox: its volumes could not be mounted on 2 node(s)", "machine n2: not here"},
		"all fail": {func() []*fleettest.Node {
			var list []*fleettest.Node
			for i := range 4 {
				n := fleettest.New(fmt.Sprintf("n%d", i), build)
				n.OnCreate(refuse(shoal.ErrEnvdTimeout.New("console says no")))
				list = append(list, n)
			}
			return list
		}, shoal.ErrCreateFailed, "Failed to place sandbox: sandbox creation failed on 3 node(s)", "console says no"},
		"one full, one fails": {func() []*fleettest.Node {
			a, b := fleettest.New("n1", build), fleettest.New("n2", build)
			a.OnCreate(refuse(capacity))
			b.OnCreate(refuse(errors.New("plain")))
			return []*fleettest.Node{a, b}
		}, shoal.ErrCreateFailed, "Failed to place sandbox: sandbox creation failed on 1 node(s)", "machine n2: plain"},
		"bad request": {func() []*fleettest.Node {
			n := fleettest.New("n1", build)
			n.OnCreate(refuse(shoal.ErrNetworkPolicy.New("invalid denied CIDR x")))
			return []*fleettest.Node{n}
		}, shoal.ErrNetworkPolicy, "invalid denied CIDR x", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, c.nodes()...)
			_, err := f.Place(t.Context(), spec("team"), atOnce(1))
			e := shoal.AsError(err)
			if err == nil || e.Kind != c.kind || !strings.HasPrefix(e.Message, c.prefix) {
				t.Fatalf("got %v", err)
			}
			if c.cause != "" && (e.Err == nil || !strings.Contains(e.Err.Error(), c.cause)) {
				t.Errorf("cause %v does not name %q", e.Err, c.cause)
			}
			// The failed start must not count against the limit.
			if _, again := f.Place(t.Context(), spec("team"), atOnce(1)); shoal.ErrConcurrencyLimit.Matches(again) {
				t.Error("the failed start still counts")
			}
		})
	}
}

func TestPlaceTimesOut(t *testing.T) {
	n := fleettest.New("n1", build)
	n.OnCreate(func(ctx context.Context, _ shoal.Spec) error {
		<-ctx.Done()
		return ctx.Err()
	})
	f := newFleet(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := f.Place(ctx, spec("team"), atOnce(1))
	if !shoal.ErrPlacementTimeout.Matches(err) || !strings.HasPrefix(err.Error(), "Failed to place sandbox: placement timed out after 1 attempt(s)") {
		t.Errorf("got %v", err)
	}
	if !f.Ready() {
		t.Error("a caller's patience was taken for a dead machine")
	}
}

func TestPlaceGoesOnToAnotherMachine(t *testing.T) {
	bad, good := fleettest.New("bad", build), fleettest.New("good", build)
	good.Change(func(i *shoal.NodeInfo) { i.CPUCount = 1 }) // so that bad is tried first
	bad.OnCreate(refuse(shoal.ErrCreateFailed.New("no")))
	f := newFleet(t, bad, good)
	sb, err := f.Place(t.Context(), spec("team"), atOnce(1))
	if err != nil || sb.NodeID != "good" {
		t.Fatalf("got %+v, %v", sb, err)
	}
	node, found, err := f.Locate(t.Context(), sb.SandboxID)
	if err != nil || node != good || found.SandboxID != sb.SandboxID {
		t.Errorf("located %+v, %v", found, err)
	}
}

func TestPlacePrefersTheLeastLoaded(t *testing.T) {
	a, b := fleettest.New("a", build), fleettest.New("b", build)
	f := newFleet(t, a, b)
	count := map[string]int{}
	for range 10 {
		sb, err := f.Place(t.Context(), spec("team"), atOnce(100))
		if err != nil {
			t.Fatal(err)
		}
		count[sb.NodeID]++
	}
	if count["a"] != 5 || count["b"] != 5 {
		t.Errorf("placed %v", count)
	}
}

// TestPlaceLearnsOfABuild: a machine may have got a build since the last sync.
func TestPlaceLearnsOfABuild(t *testing.T) {
	n := fleettest.New("n1")
	f := newFleet(t, n)
	n.Change(func(i *shoal.NodeInfo) { i.Builds = []shoal.Build{build} })
	if _, err := f.Place(t.Context(), spec("team"), atOnce(1)); err != nil {
		t.Error(err)
	}
}

// TestStatusIsLogged: why a machine is lost, and nothing of a reason when it is back.
func TestStatusIsLogged(t *testing.T) {
	var said bytes.Buffer
	n := fleettest.New("n1")
	f := New(Config{Nodes: []shoal.Node{n}}, slog.New(slog.NewJSONHandler(&said, nil)))
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, `"node":"n1","status":"ready"}`},
		{shoal.ErrNodeUnreachable.New("no route"), `"status":"unhealthy","error":"no route"}`},
		{nil, `"node":"n1","status":"ready"}`},
	} {
		said.Reset()
		n.SetDown(c.err)
		_ = f.Sync(t.Context())
		if !strings.Contains(said.String(), c.want) {
			t.Errorf("%v: %q", c.err, said.String())
		}
	}
}

// TestPlaceByRuntime: a required runtime is looked for, a preferred one is not.
func TestPlaceByRuntime(t *testing.T) {
	for required, want := range map[bool]string{true: "able", false: "large"} {
		b := build
		b.Runtime = shoal.RuntimeWish{Name: "another", Required: required}
		large, able := fleettest.New("large", b), fleettest.New("able", b)
		able.Change(func(i *shoal.NodeInfo) { i.CPUCount, i.Runtimes = 1, []string{"gvisor", "another"} })
		f := newFleet(t, large, able)
		if sb, err := f.Place(t.Context(), spec("team"), atOnce(1)); err != nil || sb.NodeID != want {
			t.Errorf("required %v: %+v, %v", required, sb, err)
		}
		if got := f.Runtimes(); !slices.Equal(got, []string{"another", "gvisor"}) {
			t.Errorf("runtimes %v", got)
		}
	}
}

func TestLimitCountsStartsInFlight(t *testing.T) {
	const limit, callers = 3, 20
	n := fleettest.New("n1", build)
	release := make(chan struct{})
	var started atomic.Int32
	n.OnCreate(func(context.Context, shoal.Spec) error {
		started.Add(1)
		<-release
		return nil
	})
	f := newFleet(t, n)
	var wg sync.WaitGroup
	results := make(chan error, callers)
	for range callers {
		wg.Go(func() {
			_, err := f.Place(t.Context(), spec("team"), atOnce(limit))
			results <- err
		})
	}
	for range callers - limit { // the refusals arrive while the starts hang
		if err := <-results; !shoal.ErrConcurrencyLimit.Matches(err) {
			t.Errorf("got %v", err)
		}
	}
	close(release)
	wg.Wait()
	for range limit {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if started.Load() != limit {
		t.Errorf("%d starts", started.Load())
	}
	if _, err := f.Place(t.Context(), spec("another"), atOnce(limit)); err != nil {
		t.Errorf("another team: %v", err)
	}
}

func TestLimitForgetsWhatEnded(t *testing.T) {
	n := fleettest.New("n1", build)
	f := newFleet(t, n)
	first, err := f.Place(t.Context(), spec("team"), atOnce(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Place(t.Context(), spec("team"), atOnce(1)); !shoal.ErrConcurrencyLimit.Matches(err) {
		t.Fatalf("got %v", err)
	}
	n.Drop(first.SandboxID) // its time is over; nobody told the fleet
	second, err := f.Place(t.Context(), spec("team"), atOnce(1))
	if err != nil {
		t.Fatal(err)
	}
	second.State = shoal.StatePaused // a paused sandbox takes no place
	n.Put(second)
	if _, err := f.Place(t.Context(), spec("team"), atOnce(1)); err != nil {
		t.Error(err)
	}
}

// TestAllOfATeamsSandboxesCount: paused ones leave the places of running ones, and stay within
// the bound of all; they can be resumed in any case.
func TestAllOfATeamsSandboxesCount(t *testing.T) {
	n := fleettest.New("n1", build)
	f := newFleet(t, n)
	limits := shoal.TeamLimits{ConcurrentSandboxes: 2, Sandboxes: 3}
	var last shoal.Sandbox
	for range 3 {
		sb, err := f.Place(t.Context(), spec("team"), limits)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Pause(t.Context(), n, sb, shoal.PauseOptions{Memory: true}); err != nil {
			t.Fatal(err)
		}
		last = sb
	}
	if _, err := f.Place(t.Context(), spec("team"), limits); !shoal.ErrSandboxLimit.Matches(err) {
		t.Errorf("one more than may be: %v", err)
	}
	other, err := f.Place(t.Context(), spec("another"), limits)
	if err != nil {
		t.Fatalf("of another team: %v", err)
	}
	forks, err := f.Fork(t.Context(), n, other.SandboxID, []shoal.Spec{spec("team")}, limits)
	if err != nil || !shoal.ErrSandboxLimit.Matches(forks[0].Err) {
		t.Errorf("a fork more than may be: %v, %v", forks, err)
	}
	limits.Sandboxes = 1
	if _, err := f.Resume(t.Context(), n, last, shoal.ResumeOptions{Timeout: time.Minute}, limits); err != nil {
		t.Errorf("a resume: %v", err)
	}
}

func TestLocate(t *testing.T) {
	a, b := fleettest.New("a", build), fleettest.New("b", build)
	f := newFleet(t, a, b)
	b.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: "i1"}, State: shoal.StateRunning})
	if node, sb, err := f.Locate(t.Context(), "i1"); err != nil || node != b || sb.NodeID != "b" {
		t.Errorf("got %+v, %v", sb, err)
	}
	if _, _, err := f.Locate(t.Context(), "i2"); !shoal.ErrSandboxNotFound.Matches(err) {
		t.Errorf("unknown: %v", err)
	}
	b.Drop("i1")
	if _, _, err := f.Locate(t.Context(), "i1"); !shoal.ErrSandboxNotFound.Matches(err) {
		t.Errorf("gone: %v", err)
	}
	a.SetDown(shoal.ErrNodeUnreachable.New("no route"))
	if _, _, err := f.Locate(t.Context(), "i3"); !shoal.ErrNodeUnreachable.Matches(err) {
		t.Errorf("it may be on the machine that is down, yet: %v", err)
	}
}

func TestListRemembersASilentMachine(t *testing.T) {
	a, b := fleettest.New("a", build), fleettest.New("b", build)
	for i, n := range []*fleettest.Node{a, b} {
		n.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: fmt.Sprint("i", i)}, State: shoal.StateRunning, EndAt: time.Now().Add(time.Hour)})
	}
	a.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: "over"}, State: shoal.StateRunning, EndAt: time.Now().Add(-time.Hour)})
	f := newFleet(t, a, b)
	a.SetDown(shoal.ErrNodeUnreachable.New("no route"))
	list, err := f.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("got %+v, %v", list, err)
	}
}

// endsLost creates sandboxes whose start the fleet got no answer to, and checks that the
// fleet kills them.
func endsLost(t *testing.T, f *Fleet, n *fleettest.Node, specs ...shoal.Spec) {
	t.Helper()
	for _, s := range specs {
		n.Put(shoal.Sandbox{Spec: s, State: shoal.StateRunning})
	}
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if got := n.Killed(s.SandboxID); got != shoal.KillOrphaned {
			t.Errorf("%s killed: %q", s.SandboxID, got)
		}
	}
}

// TestUnansweredStartIsKilled: a start may have succeeded although its answer was lost.
func TestUnansweredStartIsKilled(t *testing.T) {
	n := fleettest.New("n1", build)
	f := newFleet(t, n)
	n.OnCreate(refuse(shoal.ErrNodeUnreachable.New("connection reset")))
	s := spec("team")
	if _, err := f.Place(t.Context(), s, atOnce(1)); !shoal.ErrCreateFailed.Matches(err) {
		t.Fatalf("got %v", err)
	}
	endsLost(t, f, n, s)
}

// TestLostIsKilledSoon: the fleet kills a lost sandbox before the next regular sync.
func TestLostIsKilledSoon(t *testing.T) {
	n := fleettest.New("n1", build)
	first := make(chan struct{})
	f := New(Config{Nodes: []shoal.Node{n}, OnBuild: func(context.Context, shoal.Build) error {
		close(first)
		return nil
	}}, slog.New(slog.DiscardHandler))
	var g sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer g.Wait()
	defer cancel()
	g.Go(func() { _ = f.Run(ctx) })
	<-first
	n.OnCreate(refuse(shoal.ErrNodeUnreachable.New("connection reset")))
	s := spec("team")
	if _, err := f.Place(t.Context(), s, atOnce(1)); !shoal.ErrCreateFailed.Matches(err) {
		t.Fatalf("got %v", err)
	}
	n.Put(shoal.Sandbox{Spec: s, State: shoal.StateRunning})
	for deadline := time.Now().Add(syncPeriod / 2); n.Killed(s.SandboxID) == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it lives on until the next sync")
		}
	}
}

// TestUnansweredForkIsKilled: so may the copies of a fork whose answer was lost.
func TestUnansweredForkIsKilled(t *testing.T) {
	n := fleettest.New("n1", build)
	f := newFleet(t, n)
	source := spec("team")
	n.Put(shoal.Sandbox{Spec: source, State: shoal.StateRunning})
	n.SetDown(shoal.ErrNodeUnreachable.New("connection reset"))
	copies := []shoal.Spec{spec("team"), spec("team")}
	if _, err := f.Fork(t.Context(), n, source.SandboxID, copies, atOnce(5)); !shoal.ErrNodeUnreachable.Matches(err) {
		t.Fatalf("got %v", err)
	}
	n.SetDown(nil)
	endsLost(t, f, n, copies...)
	if got := n.Killed(source.SandboxID); got != "" {
		t.Errorf("the source was killed: %q", got)
	}
}

// TestAbandonedStartIsKilled: the caller gave up before the start was answered.
func TestAbandonedStartIsKilled(t *testing.T) {
	n := fleettest.New("n1", build)
	f := newFleet(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	n.OnCreate(func(context.Context, shoal.Spec) error {
		cancel()
		return ctx.Err()
	})
	s := spec("team")
	if _, err := f.Place(ctx, s, atOnce(1)); !shoal.ErrPlacementTimeout.Matches(err) {
		t.Fatalf("got %v", err)
	}
	endsLost(t, f, n, s)
}

func TestRunFollowsMachines(t *testing.T) {
	n := fleettest.New("n1", build)
	n.SetDown(shoal.ErrNodeUnreachable.New("starting"))
	var mu sync.Mutex
	var announced []string
	fail := true
	f := New(Config{Nodes: []shoal.Node{n}, OnBuild: func(_ context.Context, b shoal.Build) error {
		mu.Lock()
		defer mu.Unlock()
		if fail {
			fail = false
			return errors.New("the store is busy")
		}
		announced = append(announced, b.ID)
		return nil
	}}, discard)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	if f.Ready() {
		t.Error("ready without a machine")
	}
	n.SetDown(nil)
	deadline := time.Now().Add(10 * time.Second)
	for !f.Ready() {
		if time.Now().After(deadline) {
			t.Fatal("the machine was not noticed")
		}
		time.Sleep(5 * time.Millisecond)
	}
	for range 3 { // a failed report is repeated, a successful one is not
		if err := f.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(announced) != 1 || announced[0] != build.ID {
		t.Errorf("announced %v", announced)
	}
	if v := f.Nodes(); len(v) != 1 || v[0].Info.ID != "n1" || !v[0].Connected || v[0].Since.IsZero() {
		t.Errorf("view %+v", v)
	}
}
