package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"shoal/test/installation"
)

func TestChaos(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	inet, err := newOutside()
	if err != nil {
		t.Skip("run `make test-chaos`:", err)
	}
	t.Cleanup(func() {
		if err := inet.Close(); err != nil {
			t.Error(err)
		}
	})
	for n, part := range []struct {
		name   string
		verb   string // the command of the process that is killed
		subnet int
		open   func(*installation.Installation) (*victim, error)
	}{{"all", "up", 71, whole}, {"orchestrator", "orchestrator", 73, orchestratorOnly}} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel() // each spends most of its time waiting for starts
			i, err := installation.New("../..", fmt.Sprint("chaos", n+1), part.subnet)
			if err != nil {
				t.Fatal(err)
			}
			i.Env = append(append(slices.Clone(settings), i.Env...), "SHOAL_DNS="+inet.Resolver)
			if err := i.Runnable(); err != nil {
				t.Skip("run `make test-chaos`:", err)
			}
			v, err := part.open(i)
			t.Cleanup(func() {
				if err := v.end(); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("seed %d; repeat with -run TestChaos/%s -seed %d", *seed, part.name, *seed)
			w := &world{t: t, v: v, ctx: context.Background(), outside: inet,
				random: rand.New(rand.NewPCG(*seed, uint64(n))),
				named:  []string{""}, marks: map[string]bool{}, open: map[string]bool{},
				courses: map[string]*course{}}
			w.populate()
			for w.round = 1; w.round <= (*rounds+1)/2; w.round++ {
				w.kill(part.verb)
				w.check()
				w.prune()
			}
			w.finish()
			t.Logf("%d egress processes killed; what sandboxes with rules reach was checked %d times", w.proxies, w.ruled)
			if w.proxies == 0 && *rounds >= 40 {
				t.Error("no egress process was killed")
			}
			for name, c := range w.courses {
				t.Logf("%-8s %s", name, c)
			}
		})
	}
}

// kill begins one to three operations on different sandboxes, kills Shoal during or shortly
// after them, and starts it again.
func (w *world) kill(verb string) {
	w.lately = nil
	type begun struct {
		operation
		sb     *sandbox
		settle func()
	}
	var all []*begun
	targets := slices.Clone(w.sandboxes)
	w.random.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	longest := time.Duration(0)
	for _, sb := range targets[:min(len(targets), 1+w.random.IntN(3))] {
		op := operations[w.random.IntN(len(operations))]
		for !op.applies(w, sb) {
			op = operations[w.random.IntN(len(operations))]
		}
		all = append(all, &begun{operation: op, sb: sb})
		if w.courses[op.name] == nil {
			w.courses[op.name] = &course{typical: *patience / 150} // a first guess
		}
		longest = max(longest, w.courses[op.name].typical)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards courses and lately
	for i, b := range all {
		wg.Go(func() {
			begin := time.Now()
			var status int
			status, b.settle = b.run(w, b.sb, i)
			mu.Lock()
			defer mu.Unlock()
			w.lately = append(w.lately, fmt.Sprintf("%s %s: %d after %s", b.name, b.sb.id, status,
				time.Since(begin).Round(time.Millisecond)))
			w.courses[b.name].note(status, time.Since(begin))
		})
	}
	// A random moment is the purpose of the test.
	time.Sleep(time.Duration(w.random.Int64N(int64(longest * 3 / 2))))
	proxies := w.random.IntN(3) // 0 is before, 1 is after Shoal, 2 is not at all
	if proxies == 0 {
		w.killEgress()
	}
	w.v.target.Kill()
	wg.Wait()
	if proxies == 1 {
		w.killEgress()
	}
	err := w.v.restartAfter(verb, w.random)
	if err != nil {
		w.fail("Shoal does not start again: %v", err)
	}
	for _, b := range all {
		b.settle()
	}
}

// restartAfter starts the victim again. Now and then it kills the victim once more while
// that recovers.
func (v *victim) restartAfter(verb string, random *rand.Rand) error {
	if random.IntN(5) == 0 {
		return v.restartDisturbed(verb, time.Duration(random.Int64N(int64(600*time.Millisecond))))
	}
	return v.restart()
}

// populate creates the first sandboxes.
func (w *world) populate() {
	for n := range *population / 2 {
		var status int
		if !poll(func() bool { // the first one has its template's disk made, if there is one
			var settle func()
			status, settle = create(w, nil, n)
			settle()
			return status/100 == 2
		}) {
			w.fail("create: status %d", status)
		}
	}
	for _, sb := range w.sandboxes {
		if !sb.ruled {
			w.reachesAll(sb)
		}
	}
}

// prune kills sandboxes beyond the population.
func (w *world) prune() {
	for len(w.sandboxes) > *population {
		last := w.sandboxes[len(w.sandboxes)-1]
		w.must("DELETE", "/sandboxes/"+last.id)
		w.sandboxes = w.sandboxes[:len(w.sandboxes)-1]
	}
	if len(w.snapshots) > 4 && w.unused(w.snapshots[0].id) {
		w.must("DELETE", "/templates/"+w.snapshots[0].id)
		w.snapshots = w.snapshots[1:]
	}
	for len(w.sandboxes) < *population/2 {
		status, settle := create(w, nil, 100+len(w.sandboxes))
		if settle(); status/100 != 2 {
			w.fail("create: status %d", status)
		}
	}
}

// finish resumes paused sandboxes, reads every mark a last time, and starts a sandbox from
// each snapshot.
func (w *world) finish() {
	for _, sb := range w.sandboxes {
		w.resume(sb)
		w.examine(sb)
	}
	for _, snap := range w.snapshots {
		status, settle := w.copyFrom(snap)
		if settle(); status/100 != 2 {
			w.fail("snapshot %s does not start: status %d", snap.id, status)
		}
		w.read(w.sandboxes[len(w.sandboxes)-1].id, snap.mark)
	}
	w.checkAllEvents()
}
