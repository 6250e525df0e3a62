package attack

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// load is the state that a sandbox has before a round.
type load struct {
	seed                      int
	files, sockets, processes int
	memory, shared            int // MiB
}

// randomLoad draws a load for a guest of 1 GiB. Most are small, as in real sandboxes. Some
// are large, in the long form near what the guest can have at all.
func randomLoad(random *rand.Rand) load {
	upTo := func(small, large int) int {
		if !*long {
			large /= 5
		}
		if random.IntN(8) == 0 {
			return random.IntN(large)
		}
		return random.IntN(small)
	}
	l := load{seed: random.IntN(1 << 30), files: upTo(2000, 80_000), sockets: upTo(500, 20_000),
		processes: upTo(15, 100), memory: upTo(40, 400), shared: upTo(20, 200)}
	return l
}

func (l load) String() string {
	return fmt.Sprintf("%d %d %d %d %d %d", l.seed, l.files, l.memory, l.shared, l.sockets, l.processes)
}

// round is one sandbox and what is made of it.
type round struct {
	t      *testing.T
	number int
	load   load
	random *rand.Rand
	told   []string // what was done, for the message of a failure
	counts *outcomes
}

// outcomes count the saves of all rounds.
type outcomes struct{ saved, refused atomic.Int64 }

// TestSaves pauses, snapshots and forks sandboxes in random states. None may end by it, and
// each has what it had, as have those that are made from it. A save may be refused if the
// sandbox is unharmed.
func TestSaves(t *testing.T) {
	nothingArrives(t)
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("repeat with -run TestSaves -rounds %d -seed %d, and -long=%v", *rounds, *seed, *long)
	var counts outcomes
	numbers := make(chan int)
	t.Run("rounds", func(t *testing.T) {
		for worker := range 2 {
			t.Run(fmt.Sprint("worker", worker), func(t *testing.T) {
				t.Parallel()
				for n := range numbers {
					// Each round has a source of its own, so that it is the same in every course.
					random := rand.New(rand.NewPCG(*seed, uint64(n)))
					r := &round{t: t, number: n, load: randomLoad(random), random: random, counts: &counts}
					r.play()
				}
			})
		}
		go func() {
			defer close(numbers)
			for n := range *rounds {
				select {
				case numbers <- n:
				case <-t.Context().Done(): // both workers have failed
					return
				}
			}
		}()
	})
	saved, refused := counts.saved.Load(), counts.refused.Load()
	t.Logf("%d rounds: %d saves, %d refused", *rounds, saved, refused)
	if refused > saved/10 {
		t.Error("too many saves were refused for this to say much")
	}
}

func (r *round) fail(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("seed %d, round %d, state.py build %v, %s: %s\n--- log of Shoal\n%s", *seed, r.number, r.load,
		strings.Join(r.told, ", "), fmt.Sprintf(format, args...), up.Tail())
}

// play runs the round: one to three saves of a sandbox, each of which is checked.
func (r *round) play() {
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	defer func() {
		r.t.Logf("round %d, %v: %s; %s in all", r.number, r.load, strings.Join(r.told, ", "),
			time.Since(began).Round(time.Millisecond))
	}()
	var original sandbox
	if a := ask(ctx, "POST", "/v2/sandboxes", `{"templateID":"base","timeout":3600}`); !a.ok() {
		r.fail("create: %v", a)
	} else if err := json.Unmarshal([]byte(a.body), &original); err != nil {
		r.fail("create: %v", err)
	}
	defer original.kill()
	line, err := original.program(ctx, "state.py")
	if err != nil {
		r.fail("%v", err)
	}
	if _, err := original.run(ctx, "root", line+" build "+r.load.String()); err != nil {
		r.fail("the state cannot be made: %v", err)
	}
	want := r.digest(ctx, original)
	for range 1 + r.random.IntN(3) {
		switch r.random.IntN(3) {
		case 0:
			r.pause(ctx, original)
		case 1:
			r.snapshot(ctx, original, want)
		case 2:
			r.fork(ctx, original, want)
		}
		if got := r.digest(ctx, original); got != want {
			r.fail("the original %s has %q, and had %q", original.ID, got, want)
		}
	}
}

// digest is what a sandbox says of its memory and files.
func (r *round) digest(ctx context.Context, s sandbox) string {
	out, err := s.run(ctx, "root", "python3 /opt/state.py check")
	if err != nil {
		r.fail("%s does not tell its state: %v; the API says %v", s.ID, err, ask(ctx, "GET", "/sandboxes/"+s.ID, ""))
	}
	return out
}

// save makes a request that may be refused. It reports whether it was done.
func (r *round) save(ctx context.Context, what, path, body string, out any) bool {
	began := time.Now()
	a := ask(ctx, "POST", path, body)
	r.told = append(r.told, fmt.Sprintf("%s: %d after %s", what, a.status, time.Since(began).Round(time.Millisecond)))
	if !a.ok() {
		if a.code == "" || a.status < 400 || !strings.Contains(a.body, "goes on") {
			r.fail("%s: %v", what, a)
		}
		r.counts.refused.Add(1)
		r.t.Logf("refused: %v", a)
		return false
	}
	r.counts.saved.Add(1)
	if out != nil {
		if err := json.Unmarshal([]byte(a.body), out); err != nil {
			r.fail("%s: %v", what, err)
		}
	}
	return true
}

func (r *round) pause(ctx context.Context, s sandbox) {
	if r.save(ctx, "pause", "/sandboxes/"+s.ID+"/pause", `{}`, nil) {
		if a := ask(ctx, "POST", "/sandboxes/"+s.ID+"/connect", `{"timeout":3600}`); !a.ok() {
			r.fail("it does not come back: %v", a)
		}
	}
}

func (r *round) snapshot(ctx context.Context, s sandbox, want string) {
	var made struct{ SnapshotID string }
	if !r.save(ctx, "snapshot", "/sandboxes/"+s.ID+"/snapshots", `{}`, &made) {
		return
	}
	defer ask(context.Background(), "DELETE", "/templates/"+made.SnapshotID, "")
	var offspring sandbox
	a := ask(ctx, "POST", "/v2/sandboxes", fmt.Sprintf(`{"templateID":%q,"timeout":3600}`, made.SnapshotID))
	if err := json.Unmarshal([]byte(a.body), &offspring); err != nil || !a.ok() {
		r.fail("no sandbox can be made from the snapshot: %v", a)
	}
	defer offspring.kill()
	if got := r.digest(ctx, offspring); got != want {
		r.fail("the snapshot's sandbox %s has %q instead of %q", offspring.ID, got, want)
	}
}

func (r *round) fork(ctx context.Context, s sandbox, want string) {
	var made []struct{ Sandbox sandbox }
	if !r.save(ctx, "fork", "/sandboxes/"+s.ID+"/fork", `{"count":2,"timeout":3600}`, &made) {
		return
	}
	for _, fork := range made {
		defer fork.Sandbox.kill()
	}
	for _, fork := range made {
		if fork.Sandbox.ID == "" {
			r.fail("a fork was not started")
		}
		if got := r.digest(ctx, fork.Sandbox); got != want {
			r.fail("the fork %s has %q instead of %q", fork.Sandbox.ID, got, want)
		}
	}
}
