package fleet

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// board is what apis tell each other. It counts no limit; internal/store has tests of that.
type board struct {
	alone // but for what follows

	mu      sync.Mutex
	places  map[string]string // by sandbox: "held" or the machine
	where   map[string]string
	refusal error
}

func newBoard() *board { return &board{places: map[string]string{}, where: map[string]string{}} }

func (b *board) TakePlace(_ context.Context, r shoal.PlaceRequest) (shoal.Place, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusal != nil {
		return shoal.Place{}, b.refusal
	}
	b.places[r.SandboxID] = "held"
	return shoal.Place{TeamID: r.TeamID, SandboxID: r.SandboxID}, nil
}

func (b *board) SettlePlace(_ context.Context, p shoal.Place, nodeID string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places[p.SandboxID] = nodeID
	return nil
}

func (b *board) ReleasePlace(_ context.Context, p shoal.Place) error {
	return b.FreePlace(context.Background(), p.SandboxID, true)
}

func (b *board) FreePlace(_ context.Context, sandboxID string, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.places, sandboxID)
	return nil
}

func (b *board) Put(sandboxID, nodeID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.where[sandboxID] = nodeID
}

func (b *board) Drop(sandboxID string) { b.Put(sandboxID, "") }

func (b *board) Find(_ context.Context, sandboxID string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.where[sandboxID], b.where[sandboxID] != ""
}

func (b *board) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusal = err
}

func (b *board) is(t *testing.T, when string, want map[string]string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !maps.Equal(b.places, want) {
		t.Errorf("%s: places %v, want %v", when, b.places, want)
	}
}

func fleetOn(t *testing.T, b *board, nodes ...shoal.Node) *Fleet {
	f := New(Config{Nodes: nodes, Places: b, Catalogue: b}, slog.New(slog.DiscardHandler))
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func specOf(id string) shoal.Spec {
	return shoal.Spec{SandboxID: id, TeamID: "team", BuildID: build.ID, Timeout: time.Hour, MaxLength: time.Hour,
		Resources: shoal.Resources{CPUCount: 1}}
}

// TestPlacesFollow: each way that a sandbox comes to run or no longer does is told to other apis.
func TestPlacesFollow(t *testing.T) {
	ctx := t.Context()
	n, b := fleettest.New("n1", build), newBoard()
	f := fleetOn(t, b, n)
	sb, err := f.Place(ctx, specOf("a"), atOnce(9))
	if err != nil {
		t.Fatal(err)
	}
	b.is(t, "created", map[string]string{"a": "n1"})
	if err := f.Pause(ctx, n, sb, shoal.PauseOptions{}); err != nil {
		t.Fatal(err)
	}
	b.is(t, "paused", map[string]string{})
	n.OnResume(func(context.Context) error { return errors.New("broken") })
	if _, err := f.Resume(ctx, n, sb, shoal.ResumeOptions{}, atOnce(9)); err == nil {
		t.Error("a failed resume")
	}
	b.is(t, "not resumed", map[string]string{})
	n.OnResume(func(context.Context) error { return shoal.ErrNodeUnreachable.New("cut off") })
	if _, err := f.Resume(ctx, n, sb, shoal.ResumeOptions{}, atOnce(9)); err == nil {
		t.Error("a resume that was cut off")
	}
	b.is(t, "perhaps resumed", map[string]string{"a": "held"})
	n.OnResume(nil)
	if _, err := f.Resume(ctx, n, sb, shoal.ResumeOptions{Timeout: time.Hour}, atOnce(9)); err != nil {
		t.Fatal(err)
	}
	b.is(t, "resumed", map[string]string{"a": "n1"})
	if _, err := f.Fork(ctx, n, "a", []shoal.Spec{specOf("b"), specOf("c")}, atOnce(2)); err != nil {
		t.Fatal(err)
	}
	b.is(t, "forked", map[string]string{"a": "n1", "b": "n1"})
	f.Forget(ctx, "a")
	b.is(t, "killed", map[string]string{"b": "n1"})
	n.OnCreate(func(context.Context, shoal.Spec) error { return errors.New("broken") })
	if _, err := f.Place(ctx, specOf("d"), atOnce(9)); err == nil {
		t.Error("a failed create")
	}
	b.is(t, "not created", map[string]string{"b": "n1"})
	n.OnCreate(func(context.Context, shoal.Spec) error { return shoal.ErrNodeUnreachable.New("cut off") })
	if _, err := f.Place(ctx, specOf("e"), atOnce(9)); err == nil {
		t.Error("a create that was cut off")
	}
	b.is(t, "perhaps created", map[string]string{"b": "n1", "e": "held"})
	if err := f.Sync(ctx); err != nil { // kills what may have been created
		t.Fatal(err)
	}
	b.is(t, "killed for certain", map[string]string{"b": "n1"})
}

// TestPlacesRefuse: what other apis have left counts, after the machines were asked once more; another
// failure is none of the limit.
func TestPlacesRefuse(t *testing.T) {
	n, b := fleettest.New("n1", build), newBoard()
	f := fleetOn(t, b, n)
	n.Asked()
	limit := shoal.ErrConcurrencyLimit.New("the other apis have them")
	b.refuse(limit)
	if _, err := f.Place(t.Context(), specOf("a"), atOnce(9)); !shoal.ErrConcurrencyLimit.Matches(err) {
		t.Errorf("%v", err)
	}
	if _, lists := n.Asked(); lists != 1 {
		t.Errorf("%d lists before a refusal", lists)
	}
	n.OnList(func(context.Context) { b.refuse(nil) }) // one has ended meanwhile
	if _, err := f.Place(t.Context(), specOf("a"), atOnce(9)); err != nil {
		t.Errorf("%v", err)
	}
	away := errors.New("the database is away")
	b.refuse(away)
	n.OnList(nil)
	if _, err := f.Place(t.Context(), specOf("b"), atOnce(9)); !errors.Is(err, away) {
		t.Errorf("%v", err)
	}
	b.refuse(nil)
	if _, err := f.Place(t.Context(), specOf("b"), atOnce(2)); err != nil {
		t.Errorf("a refused one holds a place: %v", err)
	}
}

// TestCatalogue: an api finds a sandbox of another by asking one machine, and all of them if that one
// does not have it.
func TestCatalogue(t *testing.T) {
	b := newBoard()
	var nodes []shoal.Node
	var fakes []*fleettest.Node
	for _, id := range []string{"n1", "n2", "n3", "n4"} {
		fakes = append(fakes, fleettest.New(id, build))
		nodes = append(nodes, fakes[len(fakes)-1])
	}
	one, other, third := fleetOn(t, b, nodes...), fleetOn(t, b, nodes...), fleetOn(t, b, nodes...)
	sb, err := one.Place(t.Context(), specOf("a"), atOnce(9))
	if err != nil {
		t.Fatal(err)
	}
	asked := func(f *Fleet) (machines int) {
		for _, n := range fakes {
			n.Asked() // counts from here on
		}
		if _, got, err := f.Locate(t.Context(), "a"); err != nil || got.SandboxID != "a" || got.NodeID != sb.NodeID {
			t.Errorf("%+v, %v", got, err)
		}
		for _, n := range fakes {
			if gets, _ := n.Asked(); gets > 0 {
				machines++
			}
		}
		return machines
	}
	if n := asked(other); n != 1 {
		t.Errorf("%d machines were asked", n)
	}
	wrong := slices.IndexFunc(fakes, func(n *fleettest.Node) bool {
		info, _ := n.Info(t.Context())
		return info.ID != sb.NodeID
	})
	info, _ := fakes[wrong].Info(t.Context())
	b.Put("a", info.ID)
	if n := asked(third); n < 2 {
		t.Errorf("%d machines were asked after the wrong one was named", n)
	}
	if id, _ := b.Find(t.Context(), "a"); id != sb.NodeID {
		t.Errorf("the catalogue still has %q", id)
	}
	one.Forget(t.Context(), "a")
	if id, ok := b.Find(t.Context(), "a"); ok {
		t.Errorf("it is on %q after its end", id)
	}
}
