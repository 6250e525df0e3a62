package starts

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	callers = 8                      // sandboxes that live at once
	period  = 125 * time.Millisecond // between two starts, unless all callers are busy
	// patience bounds each request.
	patience = 2 * time.Minute
	// shown is how many failures are told in full.
	shown = 20
)

// TestColdStarts: no client sees that a sandbox kernel did not start. It tells how many had
// to be started a second time, and why.
func TestColdStarts(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	loaded, unload := context.WithCancel(ctx)
	defer unload()
	var load errgroup.Group
	var built, written atomic.Int64
	for i := range builders {
		load.Go(func() error {
			n, err := build(loaded, i)
			built.Add(int64(n))
			return err
		})
	}
	load.Go(func() error {
		n, err := writeDisk(loaded)
		written.Store(n)
		return err
	})

	begin := time.Now()
	r := startAll(ctx, t)
	took := time.Since(begin)
	unload()
	if err := load.Wait(); err != nil {
		t.Errorf("the load: %v", err)
	}
	if ctx.Err() != nil {
		t.Errorf("ended by a signal after %d starts", len(r.times))
	}
	for _, failure := range r.failures[:min(len(r.failures), shown)] {
		t.Errorf("FAILED %s", failure)
	}
	t.Logf("%d starts in %s (%.1f a second) beside %d template builds and %d MiB of synced writes: %d failed",
		len(r.times)+len(r.failures), took.Round(time.Second), float64(len(r.times))/took.Seconds(),
		built.Load(), written.Load()>>20, len(r.failures))
	slices.Sort(r.times)
	if n := len(r.times); n > 0 {
		t.Logf("a create took %d ms (p50), %d ms (p99), %d ms (longest)", r.times[n/2].Milliseconds(),
			r.times[n*99/100].Milliseconds(), r.times[n-1].Milliseconds())
	}
	again, cold := readLog(up.Output())
	t.Logf("%d kernels or guests were started a second time", len(again))
	for _, why := range again {
		t.Logf("AGAIN %s", why)
	}
	if cold < len(r.times) {
		t.Errorf("only %d of %d creates started a kernel of their own", cold, len(r.times))
	}
}

// results are what the clients saw.
type results struct {
	mu       sync.Mutex // guards the rest; a leaf
	times    []time.Duration
	failures []string
}

// startAll starts the sandboxes at a bounded rate, by several callers.
func startAll(ctx context.Context, t *testing.T) *results {
	r := &results{}
	tick := time.NewTicker(period)
	defer tick.Stop()
	var g errgroup.Group
	g.SetLimit(callers)
	for n := 1; n <= *starts; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			r.startOne(ctx)
			return nil
		})
		if n%500 == 0 {
			t.Logf("%d starts so far", n)
		}
	}
	_ = g.Wait() // failures are in the results
	return r
}

// startOne creates a sandbox, asks it whether it answers, and kills it.
func (r *results) startOne(ctx context.Context) {
	begin := time.Now()
	var sb struct{ SandboxID, EnvdAccessToken string }
	answer, err := demand(ctx, http.StatusCreated, "POST", "/v2/sandboxes", `{"templateID":"base","timeout":300}`)
	took := time.Since(begin)
	if err == nil {
		err = json.Unmarshal(answer, &sb)
	}
	if err == nil {
		err = visit(ctx, sb.SandboxID, sb.EnvdAccessToken)
	}
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failures = append(r.failures, fmt.Sprintf("%s after %s: %v",
			begin.UTC().Format(time.RFC3339Nano), time.Since(begin).Round(time.Millisecond), err))
		return
	}
	r.times = append(r.times, took)
}

// visit asks a new sandbox whether it answers, and kills it.
func visit(ctx context.Context, id, token string) error {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, answer, err := server.Envd(asking, id, token, "GET", "/health", nil)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("%d %s", status, answer)
	}
	if err != nil {
		err = fmt.Errorf("the health of %s: %w", id, err)
	}
	if _, killErr := demand(ctx, http.StatusNoContent, "DELETE", "/sandboxes/"+id, ""); err == nil {
		err = killErr
	}
	return err
}

// demand makes a request of the API and returns its answer, which must have the status.
func demand(ctx context.Context, want int, method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, answer, err := server.Call(ctx, method, path, body)
	if err == nil && status != want {
		err = fmt.Errorf("%d %s", status, answer)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}
