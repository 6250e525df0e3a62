package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"shoal/internal/build"
	"shoal/internal/shipped"
	"shoal/internal/shoal"
)

// buildsOnUse lets the world's shipped templates be built when they are asked for.
func (w *world) buildsOnUse() {
	team, err := w.store.Team(w.t.Context(), shoal.DevTeamID)
	w.must(err)
	first := shipped.NewFirstUse(w.server.As(team), w.server.log)
	w.server.shipped = first.Ask
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		w.must(<-done)
	})
}

// ask asks for a sandbox as a team, and returns why there is none.
func (w *world) ask(teamID, template string) *shoal.Error {
	w.t.Helper()
	team, err := w.store.Team(w.t.Context(), teamID)
	w.must(err)
	_, _, err = w.server.resolveBuild(w.t.Context(), team, template)
	if err == nil {
		return nil
	}
	return shoal.AsError(err)
}

// TestFirstUse begins one build for all who ask, and says so until it is ready for
// everybody.
func TestFirstUse(t *testing.T) {
	w := newWorld(t)
	w.buildsOnUse()
	finish := make(chan struct{})
	w.engine.runs(func(_ context.Context, job build.Job, _ build.Log) (build.Result, error) {
		<-finish
		return madeUp(job), nil
	})
	var ids []string
	for _, team := range []string{shoal.DevTeamID, otherTeam, otherTeam} {
		err := w.ask(team, "streamlit-developer")
		if err == nil || err.Kind != shoal.ErrTemplateFirstBuild || err.Status != http.StatusNotFound {
			t.Fatalf("%s: %v", team, err)
		}
		found := regexp.MustCompile(`: build ([0-9a-f-]{36})\. .*/builds/([0-9a-f-]{36})/status`).FindStringSubmatch(err.Message)
		if len(found) != 3 || found[1] != found[2] {
			t.Fatalf("the answer names no build: %s", err.Message)
		}
		ids = append(ids, found[1])
	}
	if err := w.ask(otherTeam, "streamlit-developer:v1"); err.Kind != shoal.ErrTemplateNotFound {
		t.Errorf("a tag: %v", err)
	}
	if err := w.ask(otherTeam, "no-such-template"); err.Kind != shoal.ErrTemplateNotFound {
		t.Errorf("a name that is not shipped: %v", err)
	}
	close(finish)
	for limit := time.After(20 * time.Second); w.ask(otherTeam, "streamlit-developer") != nil; {
		select {
		case <-limit:
			t.Fatalf("never ready: %v", w.ask(otherTeam, "streamlit-developer"))
		case <-time.After(10 * time.Millisecond):
		}
	}
	// A request that had looked before that does not begin it again.
	w.eventually(func() bool {
		return errors.Is(w.server.shipped(t.Context(), "streamlit-developer"), shoal.ErrJustBuilt)
	})
	if n := len(w.engine.jobs); n != 1 {
		t.Errorf("%d builds", n)
	}
	if job := w.engine.job(); ids[0] != job.BuildID || ids[1] != job.BuildID || ids[2] != job.BuildID || job.TeamID != shoal.DevTeamID || job.StartCmd == "" {
		t.Errorf("answers named %q, the job: %+v", ids, job)
	}
}

// TestFirstUseFails says why, and does not begin again with the next request.
func TestFirstUseFails(t *testing.T) {
	w := newWorld(t)
	if err := w.ask(otherTeam, "gradio-developer"); err.Kind != shoal.ErrTemplateNotFound {
		t.Errorf("without the offer: %v", err)
	}
	w.server.shipped = shipped.NotBuilt
	if err := w.ask(otherTeam, "gradio-developer"); err.Kind != shoal.ErrTemplateNotBuilt || !strings.Contains(err.Message, "`shoal template build gradio-developer`") {
		t.Errorf("where nothing is built: %v", err)
	}
	w.buildsOnUse()
	w.engine.runs(func(context.Context, build.Job, build.Log) (build.Result, error) {
		return build.Result{}, &build.Failure{Message: "no packages", Step: "1"}
	})
	deadline := time.After(20 * time.Second)
	for {
		err := w.ask(otherTeam, "gradio-developer")
		if strings.Contains(err.Message, "no packages") {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("no reason: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	w.ask(otherTeam, "gradio-developer")
	if n := len(w.engine.jobs); n != 1 {
		t.Errorf("%d builds", n)
	}
}
