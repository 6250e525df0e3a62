package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/eventlog"
	"shoal/internal/shoal"
)

// The rows of these groups are what the service itself takes, with each of the servers that it can
// stand on.

func serviceRows(suffix string) []row {
	return []row{{"auth" + suffix, benchAuth}, {"events" + suffix, benchEvents},
		{"requests" + suffix, benchRequests}}
}

const (
	calls       = 5000 // of each kind, by turns
	warmUpCalls = 500
	ofNoAuth    = "the same call without authentication, rate and rights"
)

// benchAuth measures a call by an API key, and the same by a caller from inside the process, who is
// neither authenticated nor held to a rate. Both are without a network, so that the difference shows.
func benchAuth(ctx context.Context, b *bench, s *server) (err error) {
	api, err := openInside(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.close()) }()
	var with, without times
	for n := range calls + warmUpCalls {
		if n == warmUpCalls {
			with, without = nil, nil
		}
		if err := with.time(func() error { return api.get(api.byKey) }); err != nil {
			return err
		}
		if err := without.time(func() error { return api.get(api.inside) }); err != nil {
			return err
		}
	}
	b.adds("GET /sandboxes/{id} by a key, without network", with, without, ofNoAuth, 300)
	return nil
}

const (
	records     = 2000
	writes      = 200
	ofNoEvent   = "the record without the event"
	ofKill      = "a kill, beside which it is written"
	eventInFile = "an event in the record, which each transition waits for"
)

// benchEvents measures what an event takes on its way: in the sandbox's record, in the log on the
// machine's disk, and in the store.
func benchEvents(ctx context.Context, b *bench, s *server) error {
	sb, kills, err := s.createsAndKills(ctx, b.Rounds)
	if err != nil {
		return err
	}
	if err := b.eventInRecord(s, sb); err != nil {
		return err
	}
	log, err := eventlog.Open(ctx, filepath.Join(s.DataDir, "bench-events.db"), discard)
	if err != nil {
		return err
	}
	defer log.Close()
	var disk, stored times
	for range writes {
		e := eventOf(sb)
		if err := disk.time(func() error { return log.Append(ctx, []shoal.Event{e}) }); err != nil {
			return err
		}
	}
	b.compare("an event on the machine's disk", disk, kills, ofKill, ratioAtMost(1))
	st, err := s.openStore(ctx, "events")
	if err != nil {
		return err
	}
	defer st.Close()
	for range writes {
		e := eventOf(sb)
		err := stored.time(func() error {
			n, err := st.AddEvents(ctx, []shoal.Event{e})
			if err == nil && n != 1 {
				err = fmt.Errorf("%d events were stored", n)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	b.compare("an event in the store, which nobody waits for", stored, nil, "")
	return nil
}

// createsAndKills returns one of the sandboxes as its machine's record had it, and how long kills take.
func (s *server) createsAndKills(ctx context.Context, n int) (sb shoal.Sandbox, kills times, err error) {
	for range n {
		made, err := s.create(ctx)
		if err != nil {
			return sb, nil, err
		}
		data, err := os.ReadFile(filepath.Join(s.RunDir, "sandboxes", made.ID+".json"))
		if err != nil {
			return sb, nil, err
		}
		record := recordFile{}
		if err := json.Unmarshal(data, &record); err != nil {
			return sb, nil, err
		}
		sb = record.Sandbox
		if err := kills.time(func() error { return s.kill(ctx, made) }); err != nil {
			return sb, nil, err
		}
	}
	return sb, kills, nil
}

// recordFile is the part of a sandbox's record that its size comes from.
type recordFile struct {
	Sandbox shoal.Sandbox `json:"sandbox"`
	Events  []shoal.Event `json:"events,omitempty"`
}

// eventInRecord writes records with and without an event, as the orchestrator does.
func (b *bench) eventInRecord(s *server, sb shoal.Sandbox) error {
	path := filepath.Join(s.RunDir, "bench-record.json")
	defer os.Remove(path)
	write := func(r recordFile) error {
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return atomicfile.WriteFile(path, data, 0o600, atomicfile.Volatile)
	}
	var with, without times
	for range records {
		err := with.time(func() error { return write(recordFile{sb, []shoal.Event{eventOf(sb)}}) })
		if err != nil {
			return err
		}
		if err := without.time(func() error { return write(recordFile{Sandbox: sb}) }); err != nil {
			return err
		}
	}
	b.adds(eventInFile, with, without, ofNoEvent, 500)
	return nil
}

// eventOf is a kill of a sandbox, which says most.
func eventOf(sb shoal.Sandbox) shoal.Event {
	e := shoal.NewEvent(shoal.EventKilled, sb, time.Now().UTC(), shoal.EventData{KillReason: string(shoal.KillRequest),
		Execution: &shoal.EventExecution{StartedAt: sb.StartedAt, CPUCount: 2, MemoryMB: 512, Milliseconds: 60_000}})
	e.Number = 1
	return e
}

const (
	clients       = 16
	alive         = 20
	requestTime   = 5 * time.Second
	requestRounds = 3
	ofHealth      = "GET /health by the same clients"
)

// benchRequests counts the answers to lists and gets, half of each, and those to GET /health, which
// takes hardly more than HTTP does. The clients run on the same processors.
func benchRequests(ctx context.Context, b *bench, s *server) error {
	if out, err := s.Run(ctx, "team", "limits", shoal.DevTeamSlug, "--requests-per-second=20000"); err != nil {
		return fmt.Errorf("raise the rate: %w\n%s", err, out)
	}
	made, _, err := s.createAtOnce(ctx, alive, "")
	defer func() { _ = s.killAll(context.WithoutCancel(ctx), made) }()
	if err != nil {
		return err
	}
	if err := rest(ctx, 3*time.Second); err != nil { // the limit is known, and the pool is full again
		return err
	}
	var rates, healthRates []float64
	var lists, gets times
	for range requestRounds {
		var mu sync.Mutex
		n, err := s.requestsPerSecond(ctx, func(n int) (string, func(time.Duration)) {
			path, kind := "/v2/sandboxes", &lists
			if n%2 == 1 {
				path, kind = "/sandboxes/"+made[n/2%alive].ID, &gets
			}
			return path, func(took time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				*kind = append(*kind, took)
			}
		})
		if err != nil {
			return err
		}
		rates = append(rates, n)
		n, err = s.requestsPerSecond(ctx, func(int) (string, func(time.Duration)) {
			return "/health", func(time.Duration) {}
		})
		if err != nil {
			return err
		}
		healthRates = append(healthRates, n)
	}
	f := figure{Name: fmt.Sprintf("lists and gets, %d clients, %d sandboxes", clients, alive), Unit: "/s",
		Ours: middle(rates), Anchor: middle(healthRates), Of: ofHealth, Samples: rates, AnchorSamples: healthRates}
	f.Ratio = f.Ours / f.Anchor
	b.add(f, rateAtLeast(1000))
	b.quantiles("GET /v2/sandboxes meanwhile", lists)
	b.quantiles("GET /sandboxes/{id} meanwhile", gets)
	return nil
}

// requestsPerSecond has all clients ask for what next says, one after the other, for some time.
func (s *server) requestsPerSecond(
	ctx context.Context, next func(n int) (path string, took func(time.Duration)),
) (float64, error) {
	var mu sync.Mutex
	number := 0
	return perSecond(clients, requestTime, func() error {
		mu.Lock()
		n := number
		number++
		mu.Unlock()
		path, took := next(n)
		begin := time.Now()
		if err := s.call(ctx, http.MethodGet, path, "", http.StatusOK, nil); err != nil {
			return err
		}
		took(time.Since(begin))
		return nil
	})
}
