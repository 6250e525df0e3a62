package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/test/installation"
)

// kind is a list of programs whose sandboxes have a template in common, and a table.
type kind struct {
	name     string // the table's heading
	programs []program

	// network is that of the sandboxes, as JSON; empty is what every sandbox has. arrange, if there
	// is one, does what programs need in a sandbox before they run.
	network string
	arrange func(ctx context.Context, s *sandbox) error
}

const (
	// buildTime bounds the build of a kind's template.
	buildTime = 20 * time.Minute
	// The size of sandboxes. Browsers need as much memory.
	memory, processors = 2048, 2
)

// try builds the kind's template, tries its programs one after the other, and removes the
// template. Its error is one of ctx or of the removal; others are results.
func (k kind) try(ctx context.Context, i *installation.Installation, tried *results) (err error) {
	template := "base"
	if steps := k.steps(); len(steps) > 0 {
		began := time.Now()
		if template, err = build(ctx, i, "fidelity-"+strings.ToLower(strings.Fields(k.name)[0]), steps); err != nil {
			return k.failed(err, tried)
		}
		defer func() {
			err = errors.Join(err, call(context.WithoutCancel(ctx), i, "DELETE", "/templates/"+template, "", nil))
		}()
		fmt.Printf("%s: built in %s\n", k.name, time.Since(began).Round(time.Second))
	}
	for _, p := range k.programs {
		began := time.Now()
		r := p.try(ctx, i, k, template)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tried.add(p.name, r)
		fmt.Printf("%s: %s, %s after a pause (%s) %s\n", p.name, r.before, r.after,
			time.Since(began).Round(time.Second), r.why)
	}
	return nil
}

// failed says of all programs that their template could not be built. Other errors are none of
// theirs, and are returned.
func (k kind) failed(err error, tried *results) error {
	if build := (*buildError)(nil); !errors.As(err, &build) {
		return err
	}
	fmt.Printf("%s: %v\n", k.name, err)
	for _, p := range k.programs {
		tried.add(p.name, result{before: fails, after: untried, why: err.Error()})
	}
	return nil
}

// steps returns the commands that install what the programs need.
func (k kind) steps() []string {
	var debian, pypi, npm, setups []string
	for _, p := range k.programs {
		debian = append(debian, p.debian...)
		pypi = append(pypi, p.pypi...)
		npm = append(npm, p.npm...)
		if p.setup != "" {
			setups = append(setups, prologue+p.setup)
		}
	}
	var steps []string
	add := func(command string, packages []string) {
		if slices.Sort(packages); len(packages) > 0 {
			steps = append(steps, command+" "+strings.Join(slices.Compact(packages), " "))
		}
	}
	add("export DEBIAN_FRONTEND=noninteractive; sudo apt-get update -qq && "+
		"sudo -E apt-get install -y -qq --no-install-recommends", debian)
	add("sudo python3 -m venv /opt/python && sudo /opt/python/bin/pip install --quiet", pypi)
	add("sudo npm install --global --no-audit --no-fund --loglevel=error", npm)
	return append(steps, setups...)
}

// build makes a template on top of the base template, and returns its ID.
func build(ctx context.Context, i *installation.Installation, name string, commands []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	var made struct{ TemplateID, BuildID string }
	if err := call(ctx, i, "POST", "/v3/templates", fmt.Sprintf(`{"name":%q,"cpuCount":%d,"memoryMB":%d}`,
		name, processors, memory), &made); err != nil {
		return "", err
	}
	type step struct {
		Type string   `json:"type"`
		Args []string `json:"args"`
	}
	var steps []step
	for _, c := range commands {
		steps = append(steps, step{"RUN", []string{c}})
	}
	body, err := json.Marshal(map[string]any{"fromTemplate": "base", "steps": steps})
	if err != nil {
		return "", err
	}
	at := "/templates/" + made.TemplateID + "/builds/" + made.BuildID
	if err := call(ctx, i, "POST", "/v2"+at, string(body), nil); err != nil {
		return "", err
	}
	return made.TemplateID, await(ctx, i, at)
}

// buildError is a build that failed.
type buildError struct{ reason, log string }

var _ error = (*buildError)(nil)

// Error returns the reason and the last lines of the log.
func (e *buildError) Error() string { return "the build: " + e.reason + "\n" + e.log }

// await waits for the end of a build. Its error has the last lines of the build's log.
func await(ctx context.Context, i *installation.Installation, at string) error {
	const period = 500 * time.Millisecond
	var last []string
	for offset := 0; ; {
		var said struct {
			Status     string
			Reason     struct{ Message string }
			LogEntries []struct{ Message string }
		}
		if err := call(ctx, i, "GET", fmt.Sprintf("%s/status?logsOffset=%d", at, offset), "", &said); err != nil {
			return err
		}
		offset += len(said.LogEntries)
		for _, entry := range said.LogEntries {
			last = append(last, entry.Message)
		}
		last = last[max(0, len(last)-20):]
		switch {
		case said.Status == "ready":
			return nil
		case said.Status == "error":
			return &buildError{said.Reason.Message, strings.Join(last, "\n")}
		case len(said.LogEntries) > 0:
			continue // there may be more
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(period):
		}
	}
}

// results are those of the programs by their names. Kinds add to it side by side.
type results struct {
	mu  sync.Mutex
	all map[string]result
}

func (r *results) add(name string, of result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]result{}
	}
	r.all[name] = of
}

// failures names the programs that do not work, or returns nil if all do.
func (r *results) failures() error {
	var failed []string
	for name, of := range r.all {
		if of.after != ok {
			failed = append(failed, name)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	slices.Sort(failed)
	return fmt.Errorf("not as they should be: %s", strings.Join(failed, ", "))
}
