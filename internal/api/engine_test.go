package api

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

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

// registration is what POST /v3/templates answers.
type registration struct {
	TemplateID, BuildID  string
	Public               bool
	Names, Tags, Aliases []string
}

func (w *world) register(body string, headers ...string) registration {
	w.t.Helper()
	r := w.call("POST", "/v3/templates", body, headers...)
	if r.status != 202 {
		w.t.Fatalf("register %s: %d %s", body, r.status, r.body)
	}
	var reg registration
	r.json(w.t, &reg)
	return reg
}

func (w *world) start(reg registration, body string, headers ...string) reply {
	w.t.Helper()
	return w.call("POST", "/v2/templates/"+reg.TemplateID+"/builds/"+reg.BuildID, body, headers...)
}

// buildStatus is what the status route answers.
type buildStatus struct {
	TemplateID, BuildID, Status string
	Logs                        []string
	LogEntries                  []logEntry
	Reason                      *struct {
		Message, Step string
		LogEntries    []logEntry
	}
}

type logEntry struct{ Timestamp, Message, Level, Step string }

func (w *world) status(reg registration, query string) buildStatus {
	w.t.Helper()
	r := w.call("GET", "/templates/"+reg.TemplateID+"/builds/"+reg.BuildID+"/status"+query, "")
	r.wants(w.t, 200, "")
	var s buildStatus
	r.json(w.t, &s)
	if s.Logs == nil || s.LogEntries == nil || len(s.Logs) > 0 {
		w.t.Errorf("logs must be empty lists, not null: %s", r.body)
	}
	return s
}

// ended polls until a build has ended.
func (w *world) ended(reg registration) buildStatus {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s := w.status(reg, "")
		if s.Status == "ready" || s.Status == "error" {
			return s
		}
		if time.Now().After(end) {
			w.t.Fatalf("the build is still %s", s.Status)
		}
	}
}

// built makes a ready build of a template.
func (w *world) built(body string, headers ...string) registration {
	w.t.Helper()
	reg := w.register(body, headers...)
	w.start(reg, `{"fromImage":"debian:12"}`, headers...).wants(w.t, 202, "")
	w.eventually(func() bool {
		b, err := w.store.Build(w.t.Context(), reg.TemplateID, reg.BuildID)
		return err == nil && b.Status == shoal.BuildReady
	})
	return reg
}

// waits lets builds run until they are cancelled.
func (w *world) waits() {
	w.engine.runs(func(ctx context.Context, _ build.Job, _ build.Log) (build.Result, error) {
		<-ctx.Done()
		return build.Result{}, ctx.Err()
	})
}
