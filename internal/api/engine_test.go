package api

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"

	"shoal/internal/build"
	"shoal/internal/shoal"
)

const testUploadLimit = 1 << 20 // bytes

// scriptedEngine stands in for the one that makes images.
type scriptedEngine struct {
	mu     sync.Mutex // guards the rest
	script func(context.Context, build.Job, build.Log) (build.Result, error)
	jobs   []build.Job
}

var _ build.Engine = (*scriptedEngine)(nil)

// Build runs the script; without one it succeeds at once.
func (e *scriptedEngine) Build(ctx context.Context, job build.Job, log build.Log) (build.Result, error) {
	e.mu.Lock()
	script := e.script
	e.jobs = append(e.jobs, job)
	e.mu.Unlock()
	if script == nil {
		return madeUp(job), nil
	}
	return script(ctx, job, log)
}

func (e *scriptedEngine) runs(script func(context.Context, build.Job, build.Log) (build.Result, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script = script
}

// job returns what the engine was last asked for.
func (e *scriptedEngine) job() build.Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.jobs) == 0 {
		return build.Job{}
	}
	return e.jobs[len(e.jobs)-1]
}

// madeUp is a result as a real engine would return it.
func madeUp(job build.Job) build.Result {
	return build.Result{Layers: []string{"sha256:a", "sha256:" + job.BuildID}, EnvdVersion: "0.6.13",
		DefaultUser: "user", DefaultWorkdir: "/home/user",
		Context: shoal.BuildContext{User: "user", Env: map[string]string{"A": "1"}},
		Start:   shoal.StartBlock{Command: job.StartCmd, Ready: job.ReadyCmd}}
}

// runBuilds starts a queue that ends with the test.
func (w *world) runBuilds(log *slog.Logger) Builds {
	logs, err := build.OpenLogs(filepath.Join(w.data, "logs"))
	w.must(err)
	files, err := build.OpenFiles(filepath.Join(w.data, "files"))
	w.must(err)
	w.queue = build.New(build.QueueConfig{Store: w.store, Engine: w.engine, Logs: logs, Files: files, Builder: "test", Slots: 2}, log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.queue.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return Builds{Queue: w.queue, Logs: logs, Files: files}
}
