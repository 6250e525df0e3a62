package orchestrator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/envdapi/client"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// shellSource is all the shell that the tests' templates need: "mark FILE" writes it
// and stays, "marked FILE" looks for it.
const shellSource = `package main

import (
	"os"
	"strings"
	"time"
)

func main() {
	words := strings.Fields(os.Args[len(os.Args)-1])
	_, err := os.Stat(words[1])
	if words[0] == "mark" {
		err = os.WriteFile(words[1], nil, 0o644)
		time.Sleep(time.Hour)
	}
	if err != nil {
		os.Exit(1)
	}
}
`

// withShell makes a build of the node's image and a second one over it.
func (n *node) withShell() shoal.Build {
	n.t.Helper()
	source := filepath.Join(n.t.TempDir(), "main.go")
	n.must(os.WriteFile(source, []byte(shellSource), 0o600))
	b := n.build
	b.ID, b.TemplateID = "template-build", "template"
	b.Layers = []string{n.build.ImageDigest, n.layer("bin/bash", source)}
	b.Start = shoal.StartBlock{Command: "mark /root/started", Ready: "marked /root/started", Context: shoal.BuildContext{User: "root"}}
	return b
}

// keepTemplate makes a template whose start command runs.
func (n *node) keepTemplate() shoal.Build {
	n.t.Helper()
	ctx, b := context.Background(), n.withShell()
	w, err := n.orch.Workshop().Open(ctx, b)
	n.must(err)
	n.must(w.Guest().Startup(ctx, b.Start, client.Silent))
	n.must(w.Keep(ctx, b))
	n.must(w.Close())
	return b
}

func (n *node) createOf(b shoal.Build, id string) shoal.Sandbox {
	n.t.Helper()
	sb, err := n.orch.Create(context.Background(), shoal.Spec{SandboxID: id, TemplateID: b.TemplateID, BuildID: b.ID,
		Resources: b.Resources, Timeout: sandboxTime, MaxLength: time.Hour, EnvdAccessToken: "token-" + id})
	n.must(err)
	return sb
}

// TestTemplateStartsRunning, also after a restart, and if its memory is damaged.
func TestTemplateStartsRunning(t *testing.T) {
	n := newNode(t)
	b := n.keepTemplate()
	if sb := n.createOf(b, "warm"); sb.ColdBoot || n.read(sb, "/root/started") != "" {
		t.Error("the template's memory was not used")
	}
	n.close()
	n.open()
	if sb := n.createOf(b, "again"); sb.ColdBoot || n.read(sb, "/root/started") != "" {
		t.Error("the template was forgotten")
	}
	n.damage(snapshot.BuildName(b.ID), false)
	if sb := n.createOf(b, "cold"); !sb.ColdBoot || n.read(sb, "/root/started") != "" {
		t.Error("the start command was not run again")
	}
	n.must(n.orch.RemoveBuild(context.Background(), b.ID))
	_, err := n.orch.Create(context.Background(), shoal.Spec{SandboxID: "none", BuildID: b.ID, Resources: b.Resources})
	if !shoal.ErrImageMissing.Matches(err) {
		t.Errorf("a removed build: %v", err)
	}
}

// TestStartupFailures are told apart.
func TestStartupFailures(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	w, err := n.orch.Workshop().Open(ctx, n.withShell())
	n.must(err)
	for want, block := range map[string]shoal.StartBlock{
		"start command failed: error running start command: exit status 1":                                    {Command: "marked /nothing", Ready: "marked /nothing"},
		"ready command failed: unauthenticated: invalid username: 'nobody-here'":                              {Ready: "marked /root", Context: shoal.BuildContext{User: "nobody-here"}},
		"start command failed: error running start command: unauthenticated: invalid username: 'nobody-here'": {Command: "x", Ready: "marked /root", Context: shoal.BuildContext{User: "nobody-here"}},
	} {
		var wrong *client.StartError
		err := w.Guest().Startup(ctx, block, client.Silent)
		// The two commands of the last are refused at the same time.
		if !errors.As(err, &wrong) || (wrong.Error() != want && block.Command != "x") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := w.Guest().Startup(soon, shoal.StartBlock{Command: "mark /x", Ready: "marked /y"}, client.Silent); err == nil {
		t.Error("what is never ready was")
	}
	n.must(w.Close())
	if list, _ := filepath.Glob(filepath.Join(n.dir, "run", "guests", "build-*")); len(list) > 0 {
		t.Errorf("left: %v", list)
	}
}
