package build

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// world is a queue on a real store, with an engine that the test controls.
type world struct {
	t     *testing.T
	store *store.Store
	logs  *Logs
	files *Files
	team  shoal.Team
	queue *Queue
}

type engineFunc func(context.Context, Job, Log) (Result, error)

func (f engineFunc) Build(ctx context.Context, job Job, log Log) (Result, error) {
	return f(ctx, job, log)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{t: t, store: st, team: shoal.Team{ID: "11111111-1111-4111-8111-111111111111", Slug: "alpha",
		Limits: shoal.DefaultTeamLimits()}}
	w.must(st.CreateTeam(t.Context(), w.team))
	w.logs, err = OpenLogs(filepath.Join(t.TempDir(), "logs"))
	w.must(err)
	w.files, err = OpenFiles(filepath.Join(t.TempDir(), "files"))
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// open creates the queue of one process; the test decides whether it runs.
func (w *world) open(engine Engine, limit time.Duration) *Queue {
	w.queue = New(QueueConfig{Store: w.store, Engine: engine, Logs: w.logs, Files: w.files, Builder: "me",
		Slots: 1, Limit: limit}, slog.New(slog.DiscardHandler))
	return w.queue
}

// run runs the queue. The returned function stops it and waits for it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.queue.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Error(err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// register registers a build of the named template, which then waits.
func (w *world) register(name string, tags ...string) Job {
	w.t.Helper()
	return w.registerAt(time.Now(), name, tags...)
}

func (w *world) registerAt(at time.Time, name string, tags ...string) Job {
	w.t.Helper()
	b := shoal.Build{ID: shoal.NewBuildID(), CreatedAt: at, UpdatedAt: at,
		Resources: shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: 512}}
	tpl, err := w.store.RegisterBuild(w.t.Context(), store.Registration{Team: w.team,
		Alias: shoal.Alias{Namespace: w.team.Slug, Name: name}, Tags: append(tags, "default"), Build: b,
		Superseded: MessageSuperseded})
	w.must(err)
	return Job{TeamID: w.team.ID, TemplateID: tpl.ID, BuildID: b.ID, Resources: b.Resources,
		FromImage: "debian:12", CacheScope: w.team.ID}
}

func (w *world) build(job Job) shoal.Build {
	w.t.Helper()
	b, err := w.store.Build(context.Background(), job.TemplateID, job.BuildID)
	w.must(err)
	return b
}

// wait polls until the build has ended.
func (w *world) wait(job Job) shoal.Build {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		b := w.build(job)
		if b.Status == shoal.BuildReady || b.Status == shoal.BuildError {
			return b
		}
		if time.Now().After(end) {
			w.t.Fatalf("build %s is still %s", b.ID, b.Status)
		}
	}
}

// lines returns the whole log of a build, each line as "level step message".
func (w *world) lines(job Job) []string {
	w.t.Helper()
	page, err := w.logs.Page(context.Background(), job.BuildID, "", 0, 1000)
	w.must(err)
	var list []string
	for _, e := range page {
		list = append(list, string(e.Level)+" "+e.Step+" "+e.Message)
	}
	return list
}
