package build

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// run is one accepted build. Its end is decided once, by whichever comes first: the engine,
// a cancel, the time limit or the end of the process.
type run struct {
	q      *Queue
	job    Job
	out    *logFile
	ctx    context.Context // canceled when the build ends
	cancel context.CancelFunc

	stored atomic.Bool // the store says "building"

	mu    sync.Mutex // guards ended; held while the end is stored; taken before Queue.mu
	ended bool
}

func newRun(q *Queue, job Job, out *logFile) *run {
	ctx, cancel := context.WithCancel(context.Background())
	return &run{q: q, job: job, out: out, ctx: ctx, cancel: cancel}
}

// execute runs the engine, unless the build ended while it was pending.
func (r *run) execute() {
	ctx, cancel := context.WithTimeout(r.ctx, r.q.cfg.Limit)
	defer cancel()
	// The client is told of the limit even if the engine ignores its context.
	watched := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(watched)
		if ctx.Err() == context.DeadlineExceeded {
			r.report(r.settle(r.timedOut()))
		}
	})
	defer func() {
		if !stop() {
			<-watched
		}
	}()
	if r.ctx.Err() != nil {
		return
	}
	start := time.Now()
	result, err := r.build(ctx)
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		err = r.settle(r.timedOut())
	case err != nil:
		err = r.settle(r.failureOf(err))
	default:
		err = r.complete(result, time.Since(start))
	}
	r.report(err)
}

func (r *run) timedOut() Failure {
	return Failure{Message: fmt.Sprintf("build status polling timed out. Maximum build time is %s.",
		r.q.cfg.Limit)}
}

// build checks the steps and calls the engine.
func (r *run) build(ctx context.Context) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the engine panicked: %v\n%s", p, debug.Stack())
		}
	}()
	if f := checkSteps(r.job.Steps); f != nil {
		return Result{}, f
	}
	result, err = r.q.cfg.Engine.Build(ctx, r.job, r.out)
	if err == nil && len(result.Layers) == 0 {
		err = errors.New("the engine made no image")
	}
	return result, err
}

// failureOf turns an engine's error into a failure that the client may see.
func (r *run) failureOf(err error) Failure {
	var f *Failure
	if errors.As(err, &f) {
		return *f
	}
	if r.ctx.Err() == nil {
		r.q.log.Error("a template build failed", "build", r.job.BuildID, "template", r.job.TemplateID,
			"error", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Failure{Message: "build timed out"}
	}
	return Failure{Message: messageInternal}
}

// complete stores a result. It closes the log first, because clients stop reading it soon
// after the status changes.
func (r *run) complete(result Result, took time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	b := shoal.Build{ID: r.job.BuildID, Resources: r.job.Resources, EnvdVersion: result.EnvdVersion,
		ImageDigest: result.Layers[0], Layers: result.Layers, DefaultUser: result.DefaultUser,
		DefaultWorkdir: result.DefaultWorkdir,
		Context:        result.Context, Start: result.Start, FinishedAt: time.Now()}
	if result.DiskMB > 0 {
		b.Resources.DiskMB = result.DiskMB
	}
	r.closeLog(Info, "", "Build finished, took "+took.Round(10*time.Millisecond).String())
	err := persist(func(ctx context.Context) error { return r.q.cfg.Store.CompleteBuild(ctx, b) })
	r.q.meters.ended.WithLabelValues(outcomeReady).Inc()
	r.q.meters.seconds.Observe(took.Seconds())
	r.end()
	return err
}

// settle ends the build with a failure, unless it has already ended.
func (r *run) settle(f Failure) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	r.closeLog(Error, f.Step, "Build failed: "+f.Message)
	err := persist(func(ctx context.Context) error {
		return r.q.cfg.Store.FailBuild(ctx, r.job.BuildID,
			shoal.BuildReason{Message: f.Message, Step: f.Step}, time.Now())
	})
	r.q.meters.ended.WithLabelValues(outcomeFailed).Inc()
	r.end()
	return err
}

// abandon drops a run that was never stored.
func (r *run) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.out.drop() // nothing was written
	r.end()
}

func (r *run) end() {
	r.ended = true
	r.cancel()
	r.q.forget(r)
}

func (r *run) closeLog(level Level, step, message string) {
	if err := r.out.finish(level, step, message); err != nil {
		r.q.log.Error("the log of a build is not durable", "build", r.job.BuildID, "error", err)
	}
}

func (r *run) report(err error) {
	if err != nil {
		r.q.log.Error("the end of a build was not stored", "build", r.job.BuildID, "error", err)
	}
}

// persist stores how a build ended, even when the client or the process is going away, and
// retries while the store does not answer. It is no error if another process has ended the
// build.
func persist(write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	for {
		err := write(ctx)
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}
