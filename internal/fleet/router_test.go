package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

var here, there = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

// newRouter returns a router to machines at 10.0.0.1, 10.0.0.2 and so on.
func newRouter(t *testing.T, f *Fleet) *Router {
	t.Helper()
	var addresses []string
	for i := range f.members {
		addresses = append(addresses, fmt.Sprintf("http://10.0.0.%d:5008", i+1))
	}
	router, err := NewRouter(f, addresses, "5007")
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// TestRouterAsksForAdmission: whose the sandbox is decides whether a request goes on.
func TestRouterAsksForAdmission(t *testing.T) {
	f := newFleet(t, fleettest.New("n1", build))
	sb, err := f.Place(t.Context(), spec("t1"), atOnce(10))
	if err != nil {
		t.Fatal(err)
	}
	router := newRouter(t, f)
	request := proxy.Request{SandboxID: sb.SandboxID}
	if target, err := router.Resolve(t.Context(), request); err != nil || target.Node != "10.0.0.1:5007" {
		t.Errorf("%+v, %v", target, err)
	}
	full := errors.New("full")
	request.Admission = func(teamID string) error {
		if teamID == "t1" {
			return full
		}
		return nil
	}
	if _, err := router.Resolve(t.Context(), request); !errors.Is(err, full) {
		t.Errorf("a team that is not admitted: %v", err)
	}
}

// TestRoutesAreKept: a route costs a question once, however often the sandbox is paused, and
// is looked for anew when a request strays.
func TestRoutesAreKept(t *testing.T) {
	a, b := fleettest.New("a", build), fleettest.New("b", build)
	f := newFleet(t, a, b)
	router := newRouter(t, f)
	sb := shoal.Sandbox{Spec: spec("t1"), State: shoal.StateRunning}
	a.Put(sb) // by another process than this
	wants := func(what, strayed, node string, asked int) {
		t.Helper()
		_, _ = a.Asked()
		_, _ = b.Asked()
		target, err := router.Resolve(t.Context(), proxy.Request{SandboxID: sb.SandboxID, Strayed: strayed})
		inA, _ := a.Asked()
		inB, _ := b.Asked()
		if target.Node != node || shoal.ErrSandboxNotFound.Matches(err) != (node == "") || inA+inB > asked {
			t.Errorf("%s: %+v, %v, asked %d times", what, target, err, inA+inB)
		}
	}
	wants("first", "", "10.0.0.1:5007", 2)
	for _, state := range []shoal.State{shoal.StateRunning, shoal.StatePaused, shoal.StateResuming, shoal.StateRunning} {
		sb.State = state
		a.Put(sb)
		wants(string(state), "", "10.0.0.1:5007", 0)
	}
	a.Drop(sb.SandboxID)
	b.Put(sb)
	wants("moved", "10.0.0.1:5007", "10.0.0.2:5007", 2)
	wants("a late request that strayed", "10.0.0.1:5007", "10.0.0.2:5007", 0)
	b.Drop(sb.SandboxID)
	wants("killed", "10.0.0.2:5007", "", 2)
	wants("killed a moment ago", "", "", 0)
	b.Put(sb)
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("there after all", "", "10.0.0.2:5007", 0)
}

// TestMovedFromASilentMachine: the list of a machine that answers is believed.
func TestMovedFromASilentMachine(t *testing.T) {
	a, b := fleettest.New("a", build), fleettest.New("b", build)
	sb := shoal.Sandbox{Spec: spec("t1"), State: shoal.StateRunning}
	a.Put(sb)
	f := newFleet(t, a, b)
	a.SetDown(shoal.ErrNodeUnreachable.New("off"))
	b.Put(sb)
	_ = f.Sync(t.Context())
	target, err := newRouter(t, f).Resolve(t.Context(), proxy.Request{SandboxID: sb.SandboxID})
	if target.Node != "10.0.0.2:5007" {
		t.Errorf("%+v, %v", target, err)
	}
}

// TestFoundOnceItsMachineAnswers: what a machine has that did not answer before is found as soon
// as it answers, not only when it is asked for its list the next time.
func TestFoundOnceItsMachineAnswers(t *testing.T) {
	n := fleettest.New("a", build)
	f := newFleet(t, n)
	router := newRouter(t, f)
	n.SetDown(shoal.ErrNodeUnreachable.New("it starts"))
	_ = f.Sync(t.Context())
	sb := shoal.Sandbox{Spec: spec("t1"), State: shoal.StateRunning}
	resolve := func() (proxy.Target, error) {
		return router.Resolve(t.Context(), proxy.Request{SandboxID: sb.SandboxID})
	}
	if _, err := resolve(); !shoal.ErrNodeUnreachable.Matches(err) {
		t.Errorf("while it is down: %v", err)
	}
	n.SetDown(nil)
	n.Put(sb)
	if target, err := resolve(); target.Node == "" {
		t.Errorf("once it answers: %v", err)
	}
	sb.SandboxID = shoal.NewSandboxID()
	if _, err := resolve(); !shoal.ErrSandboxNotFound.Matches(err) {
		t.Errorf("one that it does not have: %v", err)
	}
}

// TestCreatedIsAbsentNoMore: that an ID was unknown does not outlive its sandbox's creation.
func TestCreatedIsAbsentNoMore(t *testing.T) {
	f := newFleet(t, fleettest.New("a", build))
	router, s := newRouter(t, f), spec("t1")
	if _, err := router.Resolve(t.Context(), proxy.Request{SandboxID: s.SandboxID}); !shoal.ErrSandboxNotFound.Matches(err) {
		t.Fatal(err)
	}
	if _, err := f.Place(t.Context(), s, atOnce(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := router.Resolve(t.Context(), proxy.Request{SandboxID: s.SandboxID}); err != nil {
		t.Error(err)
	}
}

// TestUnknownSandboxesAreBounded: one source that asks for many sandboxes that do not exist
// costs the machines little, and neither others' new sandboxes nor its own are lost by it.
func TestUnknownSandboxesAreBounded(t *testing.T) {
	n := fleettest.New("a", build)
	f := newFleet(t, n)
	router := newRouter(t, f)
	_, _ = n.Asked()
	begin := time.Now()
	var wg sync.WaitGroup
	for range 20 * lookupBurst {
		wg.Go(func() {
			_, err := router.Resolve(t.Context(), proxy.Request{SandboxID: shoal.NewSandboxID(), Source: here})
			if !shoal.ErrSandboxNotFound.Matches(err) && !shoal.ErrLookupLimit.Matches(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	gets, lists := n.Asked()
	took := time.Since(begin)
	if most := lookupBurst + int(took.Seconds()*lookupRate) + 1; gets > most {
		t.Errorf("%d questions, want %d at most", gets, most)
	}
	if most := 2 + int(took/syncSpacing); lists > most {
		t.Errorf("%d lists within %s", lists, took)
	}
	for _, source := range []netip.Addr{here, there} {
		sb := shoal.Sandbox{Spec: spec("t1"), State: shoal.StateRunning}
		n.Put(sb)
		if _, err := router.Resolve(t.Context(), proxy.Request{SandboxID: sb.SandboxID, Source: source}); err != nil {
			t.Errorf("a new sandbox, asked for from %s: %v", source, err)
		}
	}
}

// TestSearchesAreShared: calls for the same sandbox ask the machines once.
func TestSearchesAreShared(t *testing.T) {
	n := fleettest.New("a", build)
	f := newFleet(t, n)
	_, _ = n.Asked()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, _, err := f.Locate(t.Context(), "unknown"); !shoal.ErrSandboxNotFound.Matches(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if gets, _ := n.Asked(); gets != 1 {
		t.Errorf("asked %d times", gets)
	}
}

// TestSignedLookups: the machines are asked only for signatures that no known sandbox made, and
// share what that takes.
func TestSignedLookups(t *testing.T) {
	n := fleettest.New("a", build)
	sb := shoal.Sandbox{Spec: spec("t1"), State: shoal.StateRunning}
	sb.EnvdAccessToken = "secret"
	n.Put(sb)
	f := newFleet(t, n)
	router := newRouter(t, f)
	_, _ = n.Asked()
	signed := func(token string) url.Values {
		return url.Values{"path": {"a"}, "signature": {envdapi.FileSignature("a", "read", "", token, "")}}
	}
	if id, err := router.ResolveSigned(t.Context(), here, "GET", signed("secret")); id != sb.SandboxID {
		t.Errorf("%q, %v", id, err)
	}
	if gets, lists := n.Asked(); gets+lists != 0 {
		t.Errorf("%d questions, %d lists", gets, lists)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			_, err := router.ResolveSigned(t.Context(), here, "GET", signed(fmt.Sprint(i)))
			if !shoal.ErrSandboxNotFound.Matches(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if gets, lists := n.Asked(); gets != 0 || lists > 3 {
		t.Errorf("%d questions, %d lists", gets, lists)
	}
	sb.SandboxID, sb.EnvdAccessToken = "ilate", "late"
	n.Put(sb)
	if id, err := router.ResolveSigned(t.Context(), here, "GET", signed("late")); id != "ilate" {
		t.Errorf("a new sandbox's: %q, %v", id, err)
	}
}
