package attack

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	probePace  = 50 * time.Millisecond
	probeLimit = 20 * time.Second // in which every answer must come
	worstRatio = 5.0              // of the flood's 99th percentile and the quiet one
)

// times are how long answers took.
type times []time.Duration

// percentile returns the time that p of 100 answers did not take longer than.
func (all times) percentile(p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func (all times) String() string {
	return fmt.Sprintf("median %s, p99 %s of %d", all.percentile(50).Round(100*time.Microsecond),
		all.percentile(99).Round(100*time.Microsecond), len(all))
}

// probe runs a command in a sandbox at a steady pace. Every one must succeed.
func probe(ctx context.Context, t *testing.T, s sandbox) times {
	t.Helper()
	var all times
	for next := time.Now(); ctx.Err() == nil; next = next.Add(probePace) {
		select {
		case <-ctx.Done():
			return all
		case <-time.After(time.Until(next)):
		}
		began := time.Now()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeLimit)
		out, err := s.run(limited, "user", "echo fine")
		cancel()
		if err != nil || out != "fine\n" {
			t.Errorf("the probe failed after %s: %q %v", time.Since(began), out, err)
			return all
		}
		all = append(all, time.Since(began))
		next = time.Now().Add(-min(probePace, time.Since(next))) // what is late is not caught up
	}
	return all
}

// others creates and kills sandboxes of another team at a steady pace. Every one must
// succeed.
func others(ctx context.Context, t *testing.T, key string) times {
	t.Helper()
	var all times
	for ctx.Err() == nil {
		began := time.Now()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*probeLimit)
		id, err := createAs(limited, key)
		cancel()
		if err != nil {
			t.Errorf("another team's create failed after %s: %v", time.Since(began), err)
			return all
		}
		all = append(all, time.Since(began))
		killAs(key, id)
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return all
}

// TestFloods begins each flood, and looks whether others notice: how long a sandbox answers
// that is there, and creates of another team, which go on without a flood as well.
func TestFloods(t *testing.T) {
	quietTime, floodTime := 3*time.Second, 3*time.Second
	if *long {
		quietTime, floodTime = 15*time.Second, 30*time.Second
	}
	key := otherTeam(t)
	probed := create(t, "")
	probed.works(t)
	quiet, calm := measure(t, quietTime, probed, key)
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			watched := watchServer(t)
			_, descriptors := serverUse()
			from := create(t, "")
			if *long { // just before, because machines change
				quiet, calm = measure(t, quietTime, probed, key)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { f.run(ctx, t, from) })
			time.Sleep(time.Second) // until it is one
			during, creates := measure(t, floodTime, probed, key)
			cancel()
			running.Wait()
			from.kill()
			ratio := float64(during.percentile(99)) / float64(quiet.percentile(99))
			t.Logf("probe: quiet %v; flood %v; ratio %.1f", quiet, during, ratio)
			t.Logf("creates of others: quiet %v; flood %v; %d MiB, %d descriptors at most", calm, creates,
				watched.peak()>>20, watched.descriptors.Load())
			if *long && ratio > worstRatio {
				t.Errorf("the probe's 99th percentile was %.1f times the quiet one", ratio)
			}
			if len(during) == 0 || len(creates) == 0 {
				t.Error("nothing was measured")
			}
			awaitDescriptors(t, descriptors+200)
		})
	}
}

// measure probes for a time, while another team creates.
func measure(t *testing.T, limit time.Duration, s sandbox, key string) (probes, creates times) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { probes = probe(ctx, t, s) })
	both.Go(func() { creates = others(ctx, t, key) })
	both.Wait()
	return probes, creates
}

// awaitDescriptors waits until Shoal's process has closed what the flood had opened.
func awaitDescriptors(t *testing.T, most int64) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, n := serverUse()
		if n <= most {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d descriptors are left, of which %d are expected at most", n, most)
			return
		}
	}
}

// createAs creates a sandbox with a team's key.
func createAs(ctx context.Context, key string) (id string, err error) {
	var made sandbox
	err = callAs(ctx, key, http.MethodPost, "/v2/sandboxes", `{"templateID":"base","timeout":60}`, &made)
	return made.ID, err
}

func killAs(key, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	_ = callAs(ctx, key, http.MethodDelete, "/sandboxes/"+id, "", nil)
}

// callAs makes an API request on a connection of its own.
func callAs(ctx context.Context, key, method, path, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+server.API+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := calls.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readAnswer(resp, out)
}
