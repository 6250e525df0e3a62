package guest

import (
	"shoal/internal/envdapi"
	"shoal/internal/runtime"
)

// hostname is every guest's name, as in the reference (envd.md §4.3).
const hostname = "e2b.local"

// environment is the first environment of every guest, without what the daemon's
// contract says of it.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "USER=root",
}

// spec describes the guest to its runtime; it is the same before and after a restart of
// this process, but for facts of the sandbox in the environment.
func (g *Guest) spec() runtime.Spec {
	facts := g.plan.Facts
	facts.Sandbox, facts.BootHash = "true", g.claim.hash()
	return runtime.Spec{
		ID: g.plan.ID, Dir: g.host.dir(g.plan.ID), UpperDir: g.host.cfg.UpperDir,
		Root: g.root, Kernel: g.maker.Kernel, Hostname: hostname,
		Resources: g.plan.Resources, Background: g.plan.Background, MaxProcesses: g.host.cfg.MaxProcesses,
		First: runtime.Process{Args: envdapi.Command(),
			Env: append(environment[:len(environment):len(environment)], facts.Environ()...)},
		Link: LinkOf(g.slot),
	}
}
