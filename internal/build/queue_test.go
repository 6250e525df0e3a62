package build

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// blocking is an engine that reports its start and end, and runs until its context is done.
type blocking struct {
	started chan string
	ended   chan string
}

func newBlocking() *blocking {
	return &blocking{started: make(chan string, 10), ended: make(chan string, 10)}
}

func (b *blocking) Build(ctx context.Context, job Job, log Log) (Result, error) {
	b.started <- job.BuildID
	<-ctx.Done()
	log.Write(Info, "", "too late")
	b.ended <- job.BuildID
	return Result{Layers: []string{"sha256:x"}}, nil // an engine may finish at that moment
}

func (b *blocking) wants(t *testing.T, ch chan string, job Job) {
	t.Helper()
	select {
	case id := <-ch:
		if id != job.BuildID {
			t.Fatalf("build %s, want %s", id, job.BuildID)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the engine was not called")
	}
}

func TestBuildSucceeds(t *testing.T) {
	w := newWorld(t)
	result := Result{Layers: []string{"sha256:a", "sha256:b"}, EnvdVersion: "0.6.13", DiskMB: 900,
		DefaultUser: "user", DefaultWorkdir: "/app",
		Context: shoal.BuildContext{User: "user", Workdir: "/app", Env: map[string]string{"A": "1"}},
		Start:   shoal.StartBlock{Command: "srv", Ready: "true", Context: shoal.BuildContext{User: "root"}}}
	var seen Job
	w.open(engineFunc(func(_ context.Context, job Job, log Log) (Result, error) {
		seen = job
		log.Write(Info, "1", "[builder 1/1] RUN true")
		log.Write(Debug, "1", "bytes \xff that are no text")
		return result, nil
	}), 0)
	job := w.register("web", "v1")
	job.Steps, job.StartCmd = []Step{{Type: "RUN", Args: []string{"true"}}}, "srv"
	w.must(w.queue.Start(t.Context(), job))
	if b := w.build(job); b.Status != shoal.BuildBuilding || b.Origin != "image:debian:12" ||
		b.Start.Command != "srv" {
		t.Errorf("right after the start: %+v", b)
	}
	w.run()
	b := w.wait(job)
	if b.Status != shoal.BuildReady || !reflect.DeepEqual(b.Layers, result.Layers) ||
		b.ImageDigest != "sha256:a" || b.EnvdVersion != "0.6.13" ||
		b.Resources.DiskMB != 900 || b.Resources.CPUCount != 2 || b.DefaultUser != "user" ||
		b.DefaultWorkdir != "/app" ||
		!reflect.DeepEqual(b.Context, result.Context) || !reflect.DeepEqual(b.Start, result.Start) ||
		b.FinishedAt.IsZero() {
		t.Errorf("stored %+v", b)
	}
	if !reflect.DeepEqual(seen, job) {
		t.Errorf("the engine got %+v", seen)
	}
	lines := w.lines(job)
	if len(lines) != 4 || lines[0] != "info  Building template "+job.TemplateID+"/"+job.BuildID ||
		lines[1] != "info 1 [builder 1/1] RUN true" ||
		lines[2] != "debug 1 bytes \uFFFD that are no text" ||
		!strings.HasPrefix(lines[3], "info  Build finished, took ") {
		t.Errorf("%q", lines)
	}
}

func TestBuildFails(t *testing.T) {
	w := newWorld(t)
	var answer error
	var panics bool
	var result Result
	w.open(engineFunc(func(context.Context, Job, Log) (Result, error) {
		if panics {
			panic("no such page")
		}
		return result, answer
	}), 0)
	w.run()
	cases := map[string]struct {
		answer  error
		panics  bool
		steps   []Step
		message string
		step    string
	}{
		"step": {answer: &Failure{"failed to run command 'x': exit status 2", "3"},
			message: "failed to run command 'x': exit status 2", step: "3"},
		"wrapped": {answer: fmt.Errorf("run: %w", &Failure{"not ready", StepFinalize}), message: "not ready",
			step: StepFinalize},
		"internal": {answer: errors.New("disk /dev/sda1 is on fire"), message: messageInternal},
		"timeout":  {answer: fmt.Errorf("pull: %w", context.DeadlineExceeded), message: "build timed out"},
		"panic":    {panics: true, message: messageInternal},
		"no image": {message: messageInternal},
		"bad step": {steps: []Step{{Type: "RUN", Args: []string{"true"}}, {Type: "RUN"}},
			message: "RUN requires command argument", step: "2"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer, panics = c.answer, c.panics
			job := w.register("web")
			job.Steps = c.steps
			w.must(w.queue.Start(t.Context(), job))
			if b := w.wait(job); b.Status != shoal.BuildError ||
				b.Reason != (shoal.BuildReason{Message: c.message, Step: c.step}) || b.FinishedAt.IsZero() {
				t.Errorf("got %+v", b)
			}
			if lines := w.lines(job); lines[len(lines)-1] != "error "+c.step+" Build failed: "+c.message {
				t.Errorf("%q", lines)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	w := newWorld(t)
	w.open(NoEngine{}, 0)
	job := w.register("web")
	w.must(w.queue.Refuse(t.Context(), job, Failure{"template 'x' not found", StepBase}))
	if b := w.build(job); b.Status != shoal.BuildError ||
		b.Reason != (shoal.BuildReason{Message: "template 'x' not found", Step: "base"}) {
		t.Errorf("got %+v", b)
	}
	if err := w.queue.Start(t.Context(), job); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an ended build was started: %v", err)
	}
	if len(w.queue.active) != 0 {
		t.Errorf("%v are left", w.queue.active)
	}
}

func TestStartTwice(t *testing.T) {
	w := newWorld(t)
	engine := newBlocking()
	w.open(engine, 0)
	job := w.register("web")
	w.must(w.queue.Start(t.Context(), job))
	if err := w.queue.Start(t.Context(), job); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	w.run()
	engine.wants(t, engine.started, job)
	if err := w.queue.Start(t.Context(), job); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if b := w.build(job); b.Status != shoal.BuildBuilding {
		t.Errorf("got %+v", b)
	}
}

// TestOneSlot: a build waits for its slot; one that is canceled while it waits never runs;
// and the result of an engine after a cancel is ignored.
func TestOneSlot(t *testing.T) {
	w := newWorld(t)
	engine := newBlocking()
	w.open(engine, 0)
	w.run()
	first, second, third := w.register("first"), w.register("second"), w.register("third")
	for _, job := range []Job{first, second, third} {
		w.must(w.queue.Start(t.Context(), job))
	}
	engine.wants(t, engine.started, first)
	w.must(w.queue.Cancel(t.Context(), second.BuildID, MessageByAdmin))
	if b := w.build(second); b.Status != shoal.BuildError || b.Reason.Message != MessageByAdmin {
		t.Errorf("got %+v", b)
	}
	w.must(w.queue.Cancel(t.Context(), first.BuildID, MessageByAdmin))
	if b := w.build(first); b.Status != shoal.BuildError {
		t.Errorf("got %+v", b)
	}
	before := w.lines(first)
	engine.wants(t, engine.ended, first)
	engine.wants(t, engine.started, third)
	if after := w.lines(first); !slices.Equal(before, after) || slices.Contains(after, "info  too late") {
		t.Errorf("%q", after)
	}
	if b := w.build(first); b.Status != shoal.BuildError {
		t.Errorf("a canceled build became %s", b.Status)
	}
	w.must(w.queue.Cancel(t.Context(), first.BuildID, MessageCancelled)) // canceling again does nothing
	if b := w.build(first); b.Reason.Message != MessageByAdmin {
		t.Errorf("got %+v", b)
	}
}

func TestNewerBuildCancelsOlder(t *testing.T) {
	w := newWorld(t)
	engine := newBlocking()
	w.open(engine, 0)
	w.run()
	older := w.register("web")
	w.must(w.queue.Start(t.Context(), older))
	engine.wants(t, engine.started, older)
	newer := w.register("web")
	if b := w.build(older); b.Status != shoal.BuildBuilding {
		t.Errorf("registering another build ended it: %+v", b)
	}
	w.must(w.queue.Start(t.Context(), newer))
	if b := w.build(older); b.Status != shoal.BuildError || b.Reason.Message != MessageCancelled {
		t.Errorf("got %+v", b)
	}
	engine.wants(t, engine.ended, older)
	engine.wants(t, engine.started, newer)
}

func TestTimeLimit(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.open(engineFunc(func(context.Context, Job, Log) (Result, error) { // ignores its context
		<-release
		return Result{Layers: []string{"sha256:x"}}, nil
	}), 20*time.Millisecond)
	w.run()
	t.Cleanup(func() { close(release) })
	job := w.register("web")
	w.must(w.queue.Start(t.Context(), job))
	if b := w.wait(job); b.Reason.Message != "build status polling timed out. Maximum build time is 20ms." {
		t.Errorf("got %+v", b)
	}
}

func TestStopEndsBuilds(t *testing.T) {
	w := newWorld(t)
	engine := newBlocking()
	w.open(engine, 0)
	stop := w.run()
	running, pending, waiting := w.register("a"), w.register("b"), w.register("c")
	w.must(w.queue.Start(t.Context(), running))
	w.must(w.queue.Start(t.Context(), pending))
	engine.wants(t, engine.started, running)
	stop()
	engine.wants(t, engine.ended, running) // Run waited for it
	for _, job := range []Job{running, pending} {
		if b := w.build(job); b.Status != shoal.BuildError || b.Reason.Message != messageInterrupted {
			t.Errorf("got %+v", b)
		}
	}
	if err := w.queue.Start(t.Context(), waiting); !shoal.ErrUnavailable.Matches(err) {
		t.Errorf("%v", err)
	}
	if b := w.build(waiting); b.Status != shoal.BuildWaiting {
		t.Errorf("got %+v", b)
	}
}

// TestRecover: when a process starts again, it ends the builds that its predecessor left,
// and no other process's.
func TestRecover(t *testing.T) {
	w := newWorld(t)
	mine, other := w.register("mine"), w.register("other")
	w.must(w.store.StartBuild(t.Context(), shoal.Build{ID: mine.BuildID}, "me"))
	w.must(w.store.StartBuild(t.Context(), shoal.Build{ID: other.BuildID}, "other"))
	w.open(NoEngine{}, 0)
	w.must(w.queue.Recover(t.Context()))
	if b := w.build(mine); b.Status != shoal.BuildError || b.Reason.Message != messageInterrupted {
		t.Errorf("got %+v", b)
	}
	if lines := w.lines(mine); !slices.Equal(lines, []string{"error  Build failed: " + messageInterrupted}) {
		t.Errorf("%q", lines)
	}
	if b := w.build(other); b.Status != shoal.BuildBuilding {
		t.Errorf("got %+v", b)
	}
}

func TestForgottenBuilds(t *testing.T) {
	w := newWorld(t)
	engine := newBlocking()
	w.open(engine, 0)
	w.run()
	now := time.Now()
	here := w.register("here")
	w.must(w.queue.Start(t.Context(), here))
	engine.wants(t, engine.started, here)
	elsewhere := w.register("elsewhere")
	gone := w.registerAt(now.Add(-25*time.Hour), "gone")
	for _, job := range []Job{elsewhere, gone} {
		w.must(w.store.StartBuild(t.Context(), shoal.Build{ID: job.BuildID}, "other"))
	}
	unstored := w.register("unstored") // its end could not be stored
	w.must(w.store.StartBuild(t.Context(), shoal.Build{ID: unstored.BuildID}, "me"))
	late, early := w.registerAt(now.Add(-41*time.Minute), "late"),
		w.registerAt(now.Add(-39*time.Minute), "early")

	w.must(w.queue.endForgotten(t.Context(), now))
	want := map[string]struct {
		job     Job
		status  shoal.BuildStatus
		message string
	}{
		"here": {here, shoal.BuildBuilding, ""}, "elsewhere": {elsewhere, shoal.BuildBuilding, ""},
		"early": {early, shoal.BuildWaiting, ""},
		"gone":  {gone, shoal.BuildError, messageLost}, "unstored": {unstored, shoal.BuildError, messageLost},
		"late": {late, shoal.BuildError, messageWaited},
	}
	for name, c := range want {
		if b := w.build(c.job); b.Status != c.status || b.Reason.Message != c.message {
			t.Errorf("%s: %+v", name, b)
		}
	}
	// Another process cancels the one that runs here.
	w.must(w.store.FailBuild(t.Context(), here.BuildID, shoal.BuildReason{Message: MessageByAdmin}, now))
	w.must(w.queue.endForgotten(t.Context(), now))
	engine.wants(t, engine.ended, here)
	if b := w.build(here); b.Reason.Message != MessageByAdmin {
		t.Errorf("got %+v", b)
	}
}

func TestSteps(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	for _, c := range []struct {
		step Step
		want string
	}{
		{Step{Type: "RUN", Args: []string{"true"}}, ""},
		{Step{Type: "RUN", Args: []string{"true", "root"}}, ""},
		{Step{Type: "RUN"}, "RUN requires command argument"},
		{Step{Type: "COPY", Args: []string{".", "/app", "", ""}, FilesHash: hash}, ""},
		{Step{Type: "COPY", Args: []string{"."}, FilesHash: hash},
			"COPY requires a local path and a container path argument"},
		{Step{Type: "COPY", Args: []string{".", "/app"}}, "COPY requires files hash to be set"},
		{Step{Type: "ADD", Args: []string{".", "/app"}, FilesHash: "../../etc/passwd"}, "Invalid files hash"},
		{Step{Type: "WORKDIR"}, "WORKDIR requires a path argument"},
		{Step{Type: "USER"}, "USER requires a username argument"},
		{Step{Type: "USER", Args: []string{"u", "true"}}, ""},
		{Step{Type: "ENV"}, "ENV does not support passing no arguments"},
		{Step{Type: "ENV", Args: []string{"A"}}, "ENV requires both a key and value arguments"},
		{Step{Type: "ARG", Args: []string{"A", ""}}, ""},
		{Step{Type: "ENV", Args: []string{"A", "x=y", "b.c-d", "e"}}, ""},
		{Step{Type: "ENV", Args: []string{"A", "1", "B=C", "x"}}, `ENV: the name "B=C" of a variable must not contain =`},
		{Step{Type: "ENV", Args: []string{"", "x"}}, "ENV has a variable without a name"},
		{Step{Type: "ENV", Args: []string{"A", "x\x00y"}}, "ENV has a NUL, which no program can be passed"},
		{Step{Type: "RUN", Args: []string{"echo \x00"}}, "RUN has a NUL, which no program can be passed"},
		{Step{Type: "EXPOSE", Args: []string{"80"}}, "command type EXPOSE is not implemented"},
	} {
		if got := c.step.check(); got != c.want {
			t.Errorf("%v: %q, want %q", c.step, got, c.want)
		}
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	r := &Registry{Type: "registry", Username: "u", Password: "hush"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format+format, r, Job{Registry: r}); strings.Contains(text, "hush") {
			t.Errorf("%s shows %s", format, text)
		}
		if text := fmt.Sprintf(format, *r); strings.Contains(text, "hush") {
			t.Errorf("%s shows %s", format, text)
		}
	}
}
