package orchestrator

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

func (n *node) startedAhead(sb shoal.Sandbox) bool {
	return strings.HasPrefix(n.orch.table.byID[sb.SandboxID].guest.ID(), "shell-")
}

func (n *node) awaitShell() {
	n.t.Helper()
	n.eventually("a kernel is started ahead", func() bool { return n.orch.keeper.shells.Size() > 0 })
}

// TestShells: new, resumed and forked guests begin in kernels started ahead, and
// nobody can tell.
func TestShells(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	n.close()
	n.shells = 1
	n.open()
	first := n.create() // makes the demand known
	n.awaitShell()
	spec := n.spec()
	spec.Network.DenyOut = []string{"8.8.8.8"}
	sb, err := n.orch.Create(ctx, spec)
	n.must(err)
	check := func(what string, sb shoal.Sandbox) {
		t.Helper()
		if !n.startedAhead(sb) {
			t.Errorf("%s: in a new kernel", what)
		}
		if envs := n.envs(sb); envs["E2B_SANDBOX_ID"] != sb.SandboxID || envs["E2B_TEMPLATE_ID"] != "t" || envs["FROM_CLIENT"] != "2" {
			t.Errorf("%s: environment %v", what, envs)
		}
		if n.answersTo(sb, "other") {
			t.Errorf("%s: takes any token", what)
		}
	}
	check("created", sb)
	n.write(sb, "/root/kept", "x")
	n.pause(sb)
	n.rested(sb)
	n.awaitShell()
	sb = n.resume(sb)
	check("resumed", sb)
	if got := n.read(sb, "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
	n.awaitShell()
	forked := n.spec()
	forked.EnvdAccessToken, forked.EnvVars = "third", nil
	results, err := n.orch.Fork(ctx, sb.SandboxID, []shoal.Spec{forked})
	n.must(err)
	n.must(results[0].Err)
	check("forked", results[0].Sandbox)
	// A kernel that died is of no use, and of no harm.
	n.awaitShell()
	for _, pid := range n.kernels("shell") {
		kill(t, pid)
	}
	n.must(n.orch.Kill(ctx, first.SandboxID, shoal.KillRequest))
	n.create()
	n.must(n.orch.KillAll(ctx, shoal.KillDown))
	n.close()
	if left := n.liveKernels("shell"); len(left) != 0 {
		t.Errorf("kernels are left: %v", left)
	}
	n.shells = 0
	n.open()
}

// TestNothingIsLeftUnrecorded: a sandbox that cannot be recorded ends with whatever it was
// given, a kernel that was started ahead included.
func TestNothingIsLeftUnrecorded(t *testing.T) {
	n := newNode(t)
	n.close()
	n.shells = 1
	n.open()
	n.must(n.orch.Kill(context.Background(), n.create().SandboxID, shoal.KillRequest)) // makes the demand known
	n.awaitShell()
	taken := n.kernels("shell")
	n.orch.records.live = filepath.Join(n.dir, "missing")
	spec := n.spec()
	if _, err := n.orch.Create(context.Background(), spec); err == nil {
		t.Error("a sandbox without a record was created")
	}
	for _, pid := range n.liveKernels("shell") {
		if slices.Contains(taken, pid) {
			t.Error("the kernel that it took lives")
		}
	}
	if left := n.liveKernels(spec.SandboxID); len(left) != 0 {
		t.Errorf("its own kernels live: %v", left)
	}
	if dirs, _ := filepath.Glob(filepath.Join(n.dir, "run", "guests", spec.SandboxID+"-*")); len(dirs) != 0 {
		t.Errorf("left: %v", dirs)
	}
}

// made is a runtime of which only the maker matters; it restores what any of its kernels
// has made.
type made struct {
	runtime.Runtime
	by runtime.Maker
}

func (m made) Maker() runtime.Maker     { return m.by }
func (m made) Fits(runtime.Maker) error { return nil }

// TestShellFor: a kernel that was started ahead is of use for what the present one starts
// or restores, by the right runtime, and without a disk to begin with.
func TestShellFor(t *testing.T) {
	first, second := runtime.Maker{Runtime: "first", Kernel: "new"}, runtime.Maker{Runtime: "second", Kernel: "new"}
	old := runtime.Maker{Runtime: "first", Kernel: "old"}
	set := runtime.Set{made{by: first}, made{by: second}}
	for name, c := range map[string]struct {
		from guest.Source
		want string // runtime; "" is none
	}{
		"boot":                {guest.Source{}, "first"},
		"boot with a wish":    {guest.Source{Runtime: shoal.RuntimeWish{Name: "second"}}, "second"},
		"boot with a need":    {guest.Source{Runtime: shoal.RuntimeWish{Name: "third", Required: true}}, ""},
		"boot from a disk":    {guest.Source{Upper: "/disk"}, ""},
		"restore":             {guest.Source{Checkpoint: "/c", Made: second}, "second"},
		"restore, old kernel": {guest.Source{Checkpoint: "/c", Made: old}, ""},
		"restore, unknown":    {guest.Source{Checkpoint: "/c", Made: runtime.Maker{Runtime: "third"}}, ""},
	} {
		c.from.Root = "/root"
		key, ok := shellFor(set, c.from, shoal.Resources{MemoryMB: 7})
		want := shellKey{runtime: c.want, root: "/root", resources: shoal.Resources{MemoryMB: 7}}
		if ok != (c.want != "") || (ok && key != want) {
			t.Errorf("%s: %+v %v", name, key, ok)
		}
	}
}
