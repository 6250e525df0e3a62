package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// commandLine is the package of E2B's command line.
const commandLine = "@e2b/cli"

// terminal is one release of the command line, in a directory of its own.
type terminal struct {
	binary, home string
	env          []string
	sandbox      string // created by the first feature
}

// errAbsent means that a release does not have a command.
var errAbsent = errors.New("not in this release")

const (
	// unknown is what a release says of a command that it does not have.
	unknown = "unknown command"
	// accessToken is asked for by some commands of old releases, which send it beside the
	// key. Shoal ignores it there.
	accessToken = "E2B_ACCESS_TOKEN"
)

// tryCommandLine tries the features of the command line.
func (c *client) tryCommandLine(ctx context.Context, env []string) ([]result, error) {
	home, err := os.MkdirTemp("", "compat-home-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	binary, err := filepath.Abs(filepath.Join(c.dir(), "node_modules", ".bin", "e2b"))
	if err != nil {
		return nil, err
	}
	t := &terminal{binary: binary, home: home, env: append(env[:len(env):len(env)], "HOME="+home)}
	var results []result
	for _, f := range []struct {
		name string
		try  func(context.Context, string) error
	}{
		{"Sandboxes: create", t.create},
		{"Sandboxes: list", t.list},
		{"Sandboxes: information", t.info},
		{"Sandboxes: a command with input", t.exec},
		{"Sandboxes: terminal", t.connect},
		{"Sandboxes: logs", t.logs},
		{"Sandboxes: metrics", t.metrics},
		{"Sandboxes: pause and resume", t.pause},
		{"Sandboxes: snapshots", t.snapshots},
		{"Sandboxes: kill", t.kill},
		{"Templates: new project", t.project},
		{"Templates: create, list, delete", t.template},
	} {
		results = append(results, judge(f.name, f.try(ctx, c.name())))
	}
	return results, ctx.Err()
}

func judge(feature string, err error) result {
	switch {
	case err == nil:
		return result{Feature: feature, Outcome: ok}
	case errors.Is(err, errAbsent):
		return result{Feature: feature, Outcome: absent}
	default:
		return result{Feature: feature, Outcome: fails, Why: err.Error()}
	}
}

// run runs a command line that must print the wanted text.
func (t *terminal) run(ctx context.Context, want, input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return t.check(want, exec.CommandContext(ctx, t.binary, args...), input)
}

func (t *terminal) check(want string, cmd *exec.Cmd, input string) (string, error) {
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.WaitDelay = t.home, t.env, strings.NewReader(input), time.Second
	data, err := cmd.CombinedOutput()
	out := string(data)
	switch {
	case err != nil && strings.Contains(out, unknown):
		return "", errAbsent
	case err != nil:
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[1:], " "), err, out)
	case !strings.Contains(out, want):
		return "", fmt.Errorf("%s printed no %q: %s", strings.Join(cmd.Args[1:], " "), want, out)
	}
	return out, nil
}

// all runs several command lines one after the other; each is what it must print, followed
// by its arguments.
func (t *terminal) all(ctx context.Context, lines ...[]string) error {
	for _, line := range lines {
		if _, err := t.run(ctx, line[0], "", line[1:]...); err != nil {
			return err
		}
	}
	return nil
}

var sandboxID = regexp.MustCompile(`\bi?[a-z0-9]{19,21}\b`)

func (t *terminal) create(ctx context.Context, _ string) error {
	out, err := t.run(ctx, "", "", "sandbox", "create", "base", "--detach")
	if err != nil {
		return err
	}
	if t.sandbox = sandboxID.FindString(out); t.sandbox == "" {
		return fmt.Errorf("create printed no sandbox: %s", out)
	}
	return nil
}

func (t *terminal) list(ctx context.Context, _ string) error {
	return t.all(ctx, []string{t.sandbox, "sandbox", "list"}, []string{t.sandbox, "sandbox", "list", "--format", "json"})
}

func (t *terminal) info(ctx context.Context, _ string) error {
	return t.all(ctx, []string{t.sandbox, "sandbox", "info", t.sandbox})
}

func (t *terminal) exec(ctx context.Context, _ string) error {
	_, err := t.run(ctx, "line", "line\n", "sandbox", "exec", t.sandbox, "cat")
	return err
}

func (t *terminal) connect(ctx context.Context, _ string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "script", "--quiet", "--return", "--command",
		t.binary+" sandbox connect "+t.sandbox, "/dev/null")
	_, err := t.check("42", cmd, "echo $((6*7)); exit\n")
	return err
}

func (t *terminal) logs(ctx context.Context, _ string) error {
	return t.all(ctx, []string{"", "sandbox", "logs", t.sandbox})
}

func (t *terminal) metrics(ctx context.Context, _ string) error {
	return t.all(ctx, []string{"", "sandbox", "metrics", t.sandbox})
}

func (t *terminal) pause(ctx context.Context, _ string) error {
	return t.all(ctx, []string{"", "sandbox", "pause", t.sandbox},
		[]string{t.sandbox, "sandbox", "list", "--state", "paused"},
		[]string{"", "sandbox", "resume", t.sandbox})
}

var snapshotID = regexp.MustCompile(`[a-z0-9_/-]+:[a-z0-9-]+|[a-z0-9]{20}`)

func (t *terminal) snapshots(ctx context.Context, _ string) error {
	out, err := t.run(ctx, "", "", "sandbox", "snapshot", "create", t.sandbox)
	if err != nil {
		return err
	}
	id := snapshotID.FindString(out)
	return t.all(ctx, []string{id, "sandbox", "snapshot", "list"}, []string{"", "sandbox", "snapshot", "delete", id})
}

func (t *terminal) kill(ctx context.Context, _ string) error {
	return t.all(ctx, []string{t.sandbox, "sandbox", "kill", t.sandbox})
}

func (t *terminal) project(ctx context.Context, name string) error {
	if err := t.all(ctx, []string{"", "template", "init", "--name", name, "--language", "typescript", "--path", t.home}); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(t.home, name, "template.ts"))
	return err
}

func (t *terminal) template(ctx context.Context, name string) error {
	folder := filepath.Join(t.home, "context")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	file := filepath.Join(folder, "e2b.Dockerfile")
	if err := os.WriteFile(file, []byte("FROM e2bdev/base\nRUN echo built | sudo tee /built.txt\n"), 0o600); err != nil {
		return err
	}
	_, err := t.run(ctx, "", "", "template", "create", name, "--path", folder)
	if err != nil && strings.Contains(err.Error(), accessToken) {
		t.env = append(t.env, accessToken+"=any")
		_, err = t.run(ctx, "", "", "template", "create", name, "--path", folder)
	}
	if err != nil {
		return err
	}
	return t.all(ctx,
		[]string{name, "template", "list"}, []string{"", "template", "delete", "--yes", name})
}
