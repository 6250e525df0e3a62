package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// The reasons that clients are shown, in E2B's wording where it has one (templates.md §1.6,
// §1.8, §1.12).
const (
	MessageSuperseded = "The build was canceled because it was superseded by a newer one."
	MessageCancelled  = "build was cancelled"
	MessageByAdmin    = "cancelled by admin"
	MessageDeleted    = "build was cancelled because its template was deleted"

	messageWaited      = "build is in waiting state for too long"
	messageInternal    = "An internal error occurred. Please try again, or give the operator the build ID."
	messageInterrupted = "The build was interrupted because the server stopped. Please start it again."
	messageLost        = "The build was lost with the server that ran it. Please start it again."
)

const (
	// DefaultLimit is how long one build may take.
	DefaultLimit = time.Hour
	settleTime   = 30 * time.Second // for storing the end of a build
)

// QueueConfig is what a queue needs.
type QueueConfig struct {
	Store  *store.Store
	Engine Engine
	Logs   *Logs
	Files  *Files
	// Builder names this process in the store. It is the same after a restart, and
	// different from that of every other process that shares the store.
	Builder string
	// Slots is how many builds run at once; further builds wait.
	Slots int
	// Limit bounds how long one build may run; 0 means DefaultLimit.
	Limit time.Duration
}

// Queue runs builds. Accepted builds are in the store, so their end is stored too, even if
// this process dies.
type Queue struct {
	cfg QueueConfig
	log *slog.Logger

	meters *meters

	mu      sync.Mutex // guards the rest; taken after run.mu
	active  map[string]*run
	pending []*run // accepted, not yet running
	closed  bool
	wake    chan struct{} // capacity 1: signals that pending or the slots changed
	busy    int
}

// New returns a queue. Before Run, call Recover to end the builds that an earlier process
// left.
func New(cfg QueueConfig, log *slog.Logger) *Queue {
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	return &Queue{cfg: cfg, log: log, meters: newMeters(), active: map[string]*run{}, wake: make(chan struct{}, 1)}
}

// Recover fails the builds that this builder had under way when its process ended. Call it
// before the first Start.
func (q *Queue) Recover(ctx context.Context) error {
	ids, err := q.cfg.Store.BuildingOf(ctx, q.cfg.Builder)
	if err != nil {
		return err
	}
	for _, id := range ids {
		q.log.Warn("a build was interrupted by the end of the process", "build", id)
		if err := q.end(ctx, id, Failure{Message: messageInterrupted}); err != nil {
			return err
		}
	}
	return nil
}

// Start accepts a waiting build: when it returns, the store says "building" and the log has
// its first line. It cancels builds under way that share a tag with it. It returns
// store.ErrNotFound if the build no longer waits, and ErrUnavailable, without changing
// anything, if the queue is closing.
func (q *Queue) Start(ctx context.Context, job Job) error {
	r, err := q.accept(ctx, job)
	if err != nil {
		return err
	}
	rivals, err := q.cfg.Store.Rivals(ctx, job.BuildID)
	if err == nil {
		for _, id := range rivals {
			err = errors.Join(err, q.Cancel(ctx, id, MessageCancelled))
		}
	}
	if err != nil { // the new build continues in any case
		q.log.Error("older builds could not be canceled", "build", job.BuildID, "error", err)
	}
	if !q.enqueue(r) {
		return r.settle(Failure{Message: messageInterrupted})
	}
	return nil
}

// enqueue rejects a run once drain has begun, because it would never start.
func (q *Queue) enqueue(r *run) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	if q.active[r.job.BuildID] == r { // not canceled since accept
		q.pending = append(q.pending, r)
		q.poke()
	}
	return true
}

// Refuse accepts a build and fails it at once, for a reason that was found while the job
// was being put together.
func (q *Queue) Refuse(ctx context.Context, job Job, failure Failure) error {
	r, err := q.accept(ctx, job)
	if err != nil {
		return err
	}
	return r.settle(failure)
}

// accept marks the build as building in the store and creates its run.
func (q *Queue) accept(ctx context.Context, job Job) (*run, error) {
	q.mu.Lock()
	closed := q.closed
	q.mu.Unlock()
	if closed {
		return nil, shoal.ErrUnavailable.New("The server is stopping and takes no builds")
	}
	out, err := q.cfg.Logs.append(job.BuildID)
	if err != nil {
		return nil, err
	}
	r := newRun(q, job, out)
	// The run is registered before the store changes, so that a cancel that sees "building"
	// also finds the run.
	q.mu.Lock()
	if q.active[job.BuildID] != nil {
		q.mu.Unlock()
		return nil, errors.Join(fmt.Errorf("start build %s: %w", job.BuildID, store.ErrNotFound), out.drop())
	}
	q.active[job.BuildID] = r
	q.mu.Unlock()
	err = q.cfg.Store.StartBuild(ctx, shoal.Build{ID: job.BuildID, Origin: job.Origin(),
		UpdatedAt: time.Now(), Runtime: job.Runtime,
		Start: shoal.StartBlock{Command: job.StartCmd, Ready: job.ReadyCmd}}, q.cfg.Builder)
	if err != nil {
		r.abandon()
		return nil, err
	}
	r.stored.Store(true)
	out.Write(Info, "", "Building template "+job.TemplateID+"/"+job.BuildID)
	return r, nil
}

// Cancel ends a build that is waiting or building, here or elsewhere, and returns when its
// end is stored. The engine may take longer to stop. A build that has already ended is left
// as it is.
func (q *Queue) Cancel(ctx context.Context, buildID, message string) error {
	q.mu.Lock()
	r := q.active[buildID]
	q.mu.Unlock()
	if r != nil {
		return r.settle(Failure{Message: message})
	}
	err := q.cfg.Store.FailBuild(ctx, buildID, shoal.BuildReason{Message: message}, time.Now())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// end stores the failure of a build that does not run here, and logs it.
func (q *Queue) end(ctx context.Context, buildID string, f Failure) error {
	out, err := q.cfg.Logs.append(buildID)
	if err == nil {
		err = out.finish(Error, f.Step, "Build failed: "+f.Message)
	}
	if err != nil {
		q.log.Error("the end of a build was not logged", "build", buildID, "error", err)
	}
	err = q.cfg.Store.FailBuild(ctx, buildID, shoal.BuildReason{Message: f.Message, Step: f.Step}, time.Now())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Run runs builds until ctx is done. Builds that are then under way fail, and Run returns
// when the engine has stopped working on them.
func (q *Queue) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return q.sweep(ctx) })
	for {
		for r := q.next(); r != nil; r = q.next() {
			g.Go(func() error {
				defer q.free()
				r.execute()
				return nil
			})
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			q.drain()
			return g.Wait()
		}
	}
}

// next returns a pending run if a slot is free.
func (q *Queue) next() *run {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.pending) == 0 || q.busy >= q.cfg.Slots {
		return nil
	}
	r := q.pending[0]
	q.pending = q.pending[1:]
	q.busy++
	return r
}

func (q *Queue) free() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy--
	q.poke()
}

// poke wakes Run. The caller holds mu.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// drain rejects new builds and ends all existing ones.
func (q *Queue) drain() {
	q.mu.Lock()
	q.closed = true
	var left []*run
	for _, r := range q.active {
		left = append(left, r)
	}
	q.pending = nil
	q.mu.Unlock()
	var g errgroup.Group
	for _, r := range left {
		g.Go(func() error {
			r.report(r.settle(Failure{Message: messageInterrupted}))
			return nil
		})
	}
	_ = g.Wait()
}

// forget removes a run that has ended.
func (q *Queue) forget(r *run) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.active, r.job.BuildID)
	for i, p := range q.pending {
		if p == r {
			q.pending = append(q.pending[:i], q.pending[i+1:]...)
			break
		}
	}
}
