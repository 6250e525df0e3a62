package shipped

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
	"shoal/templates"
)

// restAfterFailure is how long after a failed first build requests for the template do
// not start another one.
const restAfterFailure = 10 * time.Minute

// restAfterSuccess is the same for requests that had looked for the template before its first
// build ended.
const restAfterSuccess = time.Minute

// FirstUse builds shipped templates when a sandbox of them is first requested. It needs
// Run to be running.
type FirstUse struct {
	api  http.RoundTripper
	log  *slog.Logger
	todo chan *use

	mu   sync.Mutex // guards uses
	uses map[string]*use
}

// use is the first build of one template.
type use struct {
	template templates.Template
	asked    time.Time
	begun    chan struct{} // closed when the build has started or has failed to start

	mu     sync.Mutex // guards the rest
	build  build
	failed error
	ended  time.Time
}

// NewFirstUse returns a FirstUse that builds through an API that needs no key.
func NewFirstUse(api http.RoundTripper, log *slog.Logger) *FirstUse {
	return &FirstUse{api: api, log: log, todo: make(chan *use), uses: map[string]*use{}}
}

// Run builds the requested templates until ctx ends.
func (f *FirstUse) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case u := <-f.todo:
			g.Go(func() error { f.build(ctx, u); return nil })
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

// Ask starts the first build of a shipped template, or finds the one that is running.
// It always returns an error, which tells the caller the state of the build, or nil for
// a name that is not a shipped template's. If the build has just ended well, that is
// shoal.ErrJustBuilt.
func (f *FirstUse) Ask(ctx context.Context, name string) error {
	t, err := Find(name)
	if err != nil {
		return nil
	}
	u, isNew := f.use(t)
	if isNew {
		select {
		case f.todo <- u:
		case <-ctx.Done():
			f.forget(u)
			return ctx.Err()
		}
	}
	select {
	case <-u.begun:
	case <-ctx.Done():
		return ctx.Err()
	}
	return u.answer()
}

// NotBuilt is used in place of Ask where templates are not built on first use.
func NotBuilt(_ context.Context, name string) error {
	if _, err := Find(name); err != nil {
		return nil
	}
	return shoal.ErrTemplateNotBuilt.New("template '%s' not found: it ships with Shoal and is not built here yet; `shoal template build %s` builds it", name, name)
}

// use returns the template's running or recent first build, or a new one.
func (f *FirstUse) use(t templates.Template) (u *use, isNew bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.uses[t.Name]; u != nil && !u.over() {
		return u, false
	}
	u = &use{template: t, asked: time.Now(), begun: make(chan struct{})}
	f.uses[t.Name] = u
	return u, true
}

func (f *FirstUse) forget(u *use) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uses[u.template.Name] == u {
		delete(f.uses, u.template.Name)
	}
}

func (f *FirstUse) build(ctx context.Context, u *use) {
	var once sync.Once
	began := func() { once.Do(func() { close(u.begun) }) }
	c := &Client{API: "http://localhost", HTTP: &http.Client{Transport: f.api}, Log: func(string, string) {},
		Begun: func(templateID, buildID string) {
			u.mu.Lock()
			u.build = build{templateID, buildID}
			u.mu.Unlock()
			f.log.Info("building a shipped template on first use",
				"template", u.template.Name, "build", buildID)
			began()
		}}
	err := c.Build(ctx, u.template)
	u.mu.Lock()
	u.failed, u.ended = err, time.Now()
	u.mu.Unlock()
	began()
	if err != nil && ctx.Err() == nil {
		f.log.Warn("could not build a shipped template on first use", "template", u.template.Name, "error", err)
	}
}

// over reports whether the template may be built again.
func (u *use) over() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	rest := restAfterSuccess
	if u.failed != nil {
		rest = restAfterFailure
	}
	return !u.ended.IsZero() && time.Since(u.ended) > rest
}

func (u *use) answer() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	name := u.template.Name
	switch {
	case u.failed == nil && !u.ended.IsZero():
		return shoal.ErrJustBuilt
	case u.failed != nil:
		return shoal.ErrTemplateFirstBuild.New("template '%s' not found: it ships with Shoal, and its first build failed: %v. `shoal template build %s` builds it again and shows the log", name, u.failed, name)
	}
	return shoal.ErrTemplateFirstBuild.New("template '%s' is being built for the first time, since %s: build %s. Wait for it with `shoal template build %s` or GET %s/status, and create the sandbox again",
		name, time.Since(u.asked).Round(time.Second), u.build.BuildID, name, fmt.Sprint(u.build.path()))
}
