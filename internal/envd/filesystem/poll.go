package filesystem

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envd/watch"
	pb "shoal/internal/envdapi/gen/filesystem"
)

const (
	// maxPolled is how many watchers clients may have made to poll and not removed.
	maxPolled = 1024
	// unpolledTime is how long a watcher that nobody polls is kept: its client is gone.
	unpolledTime = 24 * time.Hour
)

// polled holds the watchers whose events clients poll.
type polled struct {
	mu   sync.Mutex
	byID map[string]*polledWatcher
	idle time.Duration // how long one is kept unpolled
}

type polledWatcher struct {
	*watch.Watcher
	forget *time.Timer // removes it when it was not polled for the time
}

// add gives a watcher its ID, or returns false if there are too many.
func (p *polled) add(w *watch.Watcher) (string, bool) {
	id := watcherID()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byID) >= maxPolled {
		return "", false
	}
	if p.byID == nil {
		p.byID = map[string]*polledWatcher{}
	}
	p.byID[id] = &polledWatcher{w, time.AfterFunc(p.idle, func() { p.remove(id) })}
	return id, true
}

// find returns a watcher, which has its full time again.
func (p *polled) find(id string) (*watch.Watcher, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.byID[id]
	if !ok {
		return nil, false
	}
	w.forget.Reset(p.idle)
	return w.Watcher, true
}

// remove ends a watcher, and returns false if there is none.
func (p *polled) remove(id string) bool {
	p.mu.Lock()
	w, ok := p.byID[id]
	delete(p.byID, id)
	p.mu.Unlock()
	if ok {
		w.forget.Stop()
		w.Close()
	}
	return ok
}

// CreateWatcher starts a watcher that outlives the call.
func (s *Service) CreateWatcher(ctx context.Context, req *connect.Request[pb.CreateWatcherRequest],
) (*connect.Response[pb.CreateWatcherResponse], error) {
	w, err := s.watch(ctx, req.Msg)
	if err != nil {
		return nil, err
	}
	id, ok := s.polled.add(w)
	if !ok {
		w.Close()
		return nil, connect.NewError(connect.CodeResourceExhausted,
			fmt.Errorf("the sandbox has %d watchers, and may not have more; remove some", maxPolled))
	}
	return connect.NewResponse(&pb.CreateWatcherResponse{WatcherId: id}), nil
}

// GetWatcherEvents returns what happened since the last call.
func (s *Service) GetWatcherEvents(_ context.Context, req *connect.Request[pb.GetWatcherEventsRequest],
) (*connect.Response[pb.GetWatcherEventsResponse], error) {
	w, ok := s.polled.find(req.Msg.GetWatcherId())
	if !ok {
		return nil, noWatcher(req.Msg.GetWatcherId())
	}
	events, err := w.Take()
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	resp := &pb.GetWatcherEventsResponse{}
	for _, e := range events {
		resp.Events = append(resp.Events, event(e))
	}
	return connect.NewResponse(resp), nil
}

// RemoveWatcher ends a watcher.
func (s *Service) RemoveWatcher(_ context.Context, req *connect.Request[pb.RemoveWatcherRequest],
) (*connect.Response[pb.RemoveWatcherResponse], error) {
	if !s.polled.remove(req.Msg.GetWatcherId()) {
		return nil, noWatcher(req.Msg.GetWatcherId())
	}
	return connect.NewResponse(&pb.RemoveWatcherResponse{}), nil
}

func noWatcher(id string) error {
	return connect.NewError(connect.CodeNotFound, errors.New("no such watcher: "+id))
}

// watcherID returns "w" and 20 characters of [a-z0-9].
func watcherID() string { return "w" + strings.ToLower(rand.Text())[:20] }
