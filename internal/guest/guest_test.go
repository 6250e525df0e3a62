package guest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"shoal/internal/envdapi"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// TestEnvironment: a guest states its sandbox's facts alone, and one that is started ahead
// the hash of a secret that nobody finds in it.
func TestEnvironment(t *testing.T) {
	h := NewHost(Config{Dir: "/run/guests"}, nil, nil)
	of := func(id string, c claim) *Guest {
		return &Guest{host: h, slot: new(network.Slot), claim: c,
			plan: Plan{ID: id, Facts: envdapi.Facts{SandboxID: id}}}
	}
	first, second := of("first", claim{}).spec(), of("second", claim{}).spec()
	for id, spec := range map[string]runtime.Spec{"first": first, "second": second} {
		if env := spec.First.Env; !slices.Contains(env, "E2B_SANDBOX_ID="+id) || !slices.Contains(env, "HOME=/root") {
			t.Errorf("%s: %q", id, env)
		}
	}
	secret := newClaim()
	ahead := of("", secret).spec()
	if text := strings.Join(ahead.First.Env, "\n"); strings.Contains(text, secret.secret) ||
		!strings.Contains(text, "SHOAL_BOOT_HASH="+envdapi.BootHash(secret.secret)) {
		t.Errorf("started ahead: %q", ahead.First.Env)
	}
	if newClaim() == secret {
		t.Error("two guests have one secret")
	}
	if strings.Contains(strings.Join(first.First.Env, "\n"), "SHOAL_BOOT_HASH") {
		t.Error("a guest that knows whose it is can be told otherwise")
	}
}

// TestMakerOfAnAdoptedGuest: it keeps the kernel that it was started with, and the version
// that the kernel is of, if that was recorded.
func TestMakerOfAnAdoptedGuest(t *testing.T) {
	present := runtime.Maker{Runtime: "r", Version: "2", Kernel: "k2"}
	for recorded, want := range map[runtime.Maker]runtime.Maker{
		{Runtime: "r", Version: "1", Kernel: "k1"}: {Runtime: "r", Version: "1", Kernel: "k1"},
		{Kernel: "k1"}: {Runtime: "r", Kernel: "k1"},
		{Kernel: "k2"}: present,
		present:        present,
	} {
		if got := (Identity{Maker: recorded}).makerIn(present); got != want {
			t.Errorf("%+v is %+v, want %+v", recorded, got, want)
		}
	}
}

// unfitting restores nothing.
type unfitting struct{ runtime.Runtime }

func (unfitting) Maker() runtime.Maker     { return runtime.Maker{Runtime: "r"} }
func (unfitting) Fits(runtime.Maker) error { return runtime.ErrUnfit }

// untouched has slots that nobody may take.
type untouched struct {
	Slots
	t *testing.T
}

func (u untouched) Acquire(context.Context) (*network.Slot, error) {
	u.t.Error("a slot was taken for a guest that cannot start")
	return nil, errors.ErrUnsupported
}

// TestUnfitSource: it is known before anything is taken.
func TestUnfitSource(t *testing.T) {
	h := NewHost(Config{}, runtime.Set{unfitting{}}, untouched{t: t})
	for _, from := range []Source{
		{Checkpoint: "/dir", Made: runtime.Maker{Runtime: "r"}},
		{Checkpoint: "/dir", Made: runtime.Maker{Runtime: "another"}},
		{Runtime: shoal.RuntimeWish{Name: "another", Required: true}},
	} {
		_, err := h.Reserve(t.Context(), Plan{ID: "x"}, from)
		if !errors.Is(err, runtime.ErrUnfit) || !shoal.ErrCreateFailed.Matches(err) {
			t.Errorf("%+v: %v", from, err)
		}
	}
	want := runtime.Maker{Runtime: "r"}
	if rt, err := h.runtimeOf(Source{Runtime: shoal.RuntimeWish{Name: "another"}}); err != nil || rt.Maker() != want {
		t.Errorf("a wish that is no need: %v", err)
	}
}
