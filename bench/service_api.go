package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"time"

	"shoal/internal/api"
	"shoal/internal/audit"
	"shoal/internal/auth"
	"shoal/internal/build"
	"shoal/internal/fleet"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/live"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

var discard = slog.New(slog.DiscardHandler)

// inside is the API in this process, on the servers of a group, with a machine in memory.
type inside struct {
	sandboxID     string
	byKey, inside http.RoundTripper
	ends          []func() error // the last one first
}

// openInside opens it with a database of its own. close ends it.
func openInside(ctx context.Context, s *server) (_ *inside, err error) {
	i := &inside{}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.close())
		}
	}()
	st, err := s.openStore(ctx, "auth")
	if err != nil {
		return nil, err
	}
	i.ends = append(i.ends, st.Close)
	team, err := st.Team(ctx, shoal.DevTeamID)
	if err != nil {
		return nil, err
	}
	state, err := i.openLive(ctx, s)
	if err != nil {
		return nil, err
	}
	server, err := i.serve(ctx, s, st, state)
	if err != nil {
		return nil, err
	}
	i.byKey, i.inside = direct{server}, server.As(team)
	return i, nil
}

// serve makes the API, with as many sandboxes as the row of requests has.
func (i *inside) serve(ctx context.Context, s *server, st *store.Store, state live.State) (*api.Server, error) {
	node := fleettest.New("n")
	for range alive {
		i.sandboxID = shoal.NewSandboxID()
		now := time.Now().UTC()
		node.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: i.sandboxID, TeamID: shoal.DevTeamID, Timeout: time.Hour,
			TemplateID: shoal.BaseTemplateID, EnvdAccessToken: "token"}, State: shoal.StateRunning,
			ExecutionID: shoal.NewExecutionID(), StartedAt: now, EndAt: now.Add(time.Hour)})
	}
	machines := fleet.New(fleet.Config{Nodes: []shoal.Node{node}, Catalogue: state}, discard)
	if err := machines.Sync(ctx); err != nil {
		return nil, err
	}
	logs, err := build.OpenLogs(filepath.Join(s.Dir, "auth-logs"))
	if err != nil {
		return nil, err
	}
	files, err := build.OpenFiles(filepath.Join(s.Dir, "auth-files"))
	if err != nil {
		return nil, err
	}
	trail := audit.New(st.AddAudit, discard)
	i.ends = append(i.ends, func() error { return trail.Close(context.WithoutCancel(ctx)) })
	queue := build.New(build.QueueConfig{Store: st, Engine: build.NoEngine{}, Logs: logs, Files: files,
		Builder: "bench", Slots: 1}, discard)
	return api.New(api.Config{Store: st, Fleet: machines, Auth: auth.New(st, auth.Config{}, discard), Trail: trail,
		Tokens: auth.NewTokens(shoal.DevTokenSeed), CheckPolicy: func(shoal.Network) error { return nil },
		Builds: api.Builds{Queue: queue, Logs: logs, Files: files}, UploadLimit: 1 << 20, Name: "bench",
		Operator: shoal.DevTeamID, Limiter: state}, discard)
}

// openLive opens what apis share, in memory or in the group's Redis.
func (i *inside) openLive(ctx context.Context, s *server) (live.State, error) {
	if s.beside.redis == nil {
		return live.NewMemory(), nil
	}
	r, err := live.Open(ctx, live.Config{URL: s.beside.redis.URL(), Installation: "bench"}, discard)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }() // until close
	i.ends = append(i.ends, func() error {
		cancel()
		return errors.Join(<-ended, r.Close())
	})
	return r, nil
}

func (i *inside) close() (err error) {
	for n := len(i.ends) - 1; n >= 0; n-- {
		err = errors.Join(err, i.ends[n]())
	}
	return err
}

// get asks for a sandbox.
func (i *inside) get(by http.RoundTripper) error {
	r := httptest.NewRequest(http.MethodGet, "http://api/sandboxes/"+i.sandboxID, http.NoBody)
	r.Header.Set(auth.HeaderAPIKey, shoal.DevAPIKey)
	resp, err := by.RoundTrip(r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET a sandbox: status %d", resp.StatusCode)
	}
	return resp.Body.Close()
}

// direct hands requests to a handler, as api.Server.As does.
type direct struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r.Clone(r.Context()))
	return w.Result(), nil
}
