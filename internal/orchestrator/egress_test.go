package orchestrator

import (
	"context"
	"errors"
	"slices"
	"testing"

	"shoal/internal/guest"
	"shoal/internal/network"
	"shoal/internal/shoal"
)

// TestPolicyHoldsFromItsAnswerOn: while a policy is applied to a guest, the sandbox gets no
// other guest, which might start under the one before, and gives no slot back, which the rules
// of another guest would be changed by.
func TestPolicyHoldsFromItsAnswerOn(t *testing.T) {
	sb := &sandbox{id: "i1", view: shoal.Sandbox{State: shoal.StateRunning}}
	ctx, always := t.Context(), func(shoal.State) error { return nil }
	applying, let, saved := make(chan struct{}), make(chan struct{}), 0
	apply := func(*guest.Guest, network.Egress) error {
		applying <- struct{}{}
		<-let
		return nil
	}
	save := func(*sandbox) error { saved++; return nil }
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- sb.setPolicy(ctx, shoal.Network{DenyOut: []string{"1.2.3.4"}}, apply, save) }()
	<-applying
	if target, _, err := sb.target(); shoal.ErrSandboxState.Matches(err) {
		t.Errorf("traffic does not go on: %+v, %v", target, err)
	}
	for _, to := range []shoal.State{shoal.StatePausing, shoal.StateKilling} {
		short, cancel := context.WithCancel(ctx)
		cancel()
		if _, _, err := sb.begin(short, to, always); !errors.Is(err, context.Canceled) {
			t.Errorf("%s begins while a policy is applied: %v", to, err)
		}
		if err := sb.setPolicy(short, shoal.Network{}, apply, save); !errors.Is(err, context.Canceled) {
			t.Errorf("a second change does not wait: %v", err)
		}
	}
	go func() { second <- sb.setPolicy(ctx, shoal.Network{DenyOut: []string{"5.6.7.8"}}, apply, save) }()
	let <- struct{}{}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	<-applying
	let <- struct{}{}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	want, err := network.ParsePolicy(shoal.Network{DenyOut: []string{"5.6.7.8"}})
	if err != nil {
		t.Fatal(err)
	}
	if !sb.egressNow().Equal(want) || !slices.Equal(sb.viewNow().Network.DenyOut, []string{"5.6.7.8"}) || saved != 2 {
		t.Errorf("%+v, saved %d times", sb.viewNow().Network, saved)
	}
	if _, begun, err := sb.begin(ctx, shoal.StatePausing, always); !begun || err != nil {
		t.Errorf("afterwards no pause begins: %v", err)
	}
	if err := sb.setPolicy(ctx, shoal.Network{}, apply, save); !shoal.ErrSandboxNotRunning.Matches(err) &&
		!shoal.ErrSandboxState.Matches(err) {
		t.Errorf("during a pause: %v", err)
	}
}

// TestPolicyThatFails: what could not be applied is not said to hold.
func TestPolicyThatFails(t *testing.T) {
	sb := &sandbox{id: "i1", view: shoal.Sandbox{State: shoal.StateRunning}}
	broken := errors.New("no")
	err := sb.setPolicy(t.Context(), shoal.Network{DenyOut: []string{"1.2.3.4"}},
		func(*guest.Guest, network.Egress) error { return broken }, func(*sandbox) error { return nil })
	if !errors.Is(err, broken) || sb.viewNow().Network.DenyOut != nil || sb.current != nil {
		t.Errorf("%v, %+v", err, sb.viewNow())
	}
}
