package engine

import (
	"context"
	"errors"
	"maps"
	"time"

	"shoal/internal/build"
	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/image"
	"shoal/internal/shoal"
)

// finalize makes the build startable: it sets the template's files, and starts what the
// template wants to have running (templates.md §3.7).
func (r *run) finalize(ctx context.Context) (build.Result, error) {
	start := r.startBlock()
	r.log.Write(build.Info, build.StepFinalize,
		"[finalize] Finalizing template build ["+string(r.key[:16])+"]")
	err := within(ctx, configureLimit, "the configuration script",
		"there may be very many files in /home/user and /usr/local: put them elsewhere", r.configure)
	if err != nil {
		return build.Result{}, err
	}
	if err := r.commit(ctx); err != nil {
		return build.Result{}, err
	}
	result := build.Result{Layers: r.layers, EnvdVersion: envdapi.Version, DiskMB: r.job.Resources.DiskMB,
		DefaultUser: r.context.User, DefaultWorkdir: r.context.Workdir, Context: r.context, Start: start}
	if r.job.RootBuild {
		result.DefaultUser, result.DefaultWorkdir = image.DefaultUser, ""
	}
	b := r.buildOf(result.Layers)
	b.Status, b.EnvdVersion, b.Origin = shoal.BuildReady, result.EnvdVersion, r.job.Origin()
	b.DefaultUser, b.DefaultWorkdir, b.Context, b.Start = result.DefaultUser, result.DefaultWorkdir,
		result.Context, start
	b.CreatedAt = time.Now().UTC()
	b.UpdatedAt, b.FinishedAt = b.CreatedAt, b.CreatedAt
	if start.Command == "" && start.Ready == "" {
		r.sayOptimize()
		return result, r.e.cfg.Machine.KeepBuild(ctx, b)
	}
	return result, r.keepRunning(ctx, b)
}

// configure sets the template's files. For SDKs before 2.3.0, builds have no default-user
// phase, but the sandboxes have the default user.
func (r *run) configure(ctx context.Context) error {
	if r.job.RootBuild && !r.onBase() {
		if _, err := r.account(ctx, image.DefaultUser, true, ""); err != nil {
			return r.failed(ctx, "configuration script failed: the default user", err)
		}
	}
	if _, err := r.runScript(ctx, "configure", r.job.TemplateID, r.job.BuildID); err != nil {
		return r.failed(ctx, "configuration script failed", err)
	}
	return nil
}

// startBlock is the job's, or else that of the template below, with the context it had
// there.
func (r *run) startBlock() shoal.StartBlock {
	if r.job.StartCmd == "" && r.job.ReadyCmd == "" && r.job.FromTemplate != nil {
		return r.job.FromTemplate.Start
	}
	if r.job.StartCmd == "" && r.job.ReadyCmd == "" {
		return shoal.StartBlock{}
	}
	c := r.context
	c.Env = withStandardPath(maps.Clone(c.Env))
	return shoal.StartBlock{Command: r.job.StartCmd, Ready: r.job.ReadyCmd, Context: c}
}

// keepRunning starts the template's command in a new guest on the finished images, and
// keeps the guest's memory.
func (r *run) keepRunning(ctx context.Context, b shoal.Build) error {
	r.closeBench()
	if err := r.openBench(ctx); err != nil { // without the environment that steps get
		return err
	}
	if err := r.startup(ctx, r.bench.guest, b.Start); err != nil {
		return err
	}
	r.sayOptimize()
	return r.bench.Keep(ctx, b)
}

// sayOptimize logs the begin of the last phase, which turns the finished images into the
// template.
func (r *run) sayOptimize() {
	r.log.Write(build.Info, build.StepFinalize, "[optimize] Optimizing template ["+string(r.key[:16])+"]")
}

func (r *run) startup(ctx context.Context, guest Guest, block shoal.StartBlock) error {
	say := func(level build.Level, text string) { r.log.Write(level, build.StepFinalize, text) }
	start := &lines{log: r.log, level: build.Info, step: build.StepFinalize, prefix: "[start]"}
	ready := &lines{log: r.log, level: build.Debug, step: build.StepFinalize, prefix: "[ready]"}
	if block.Command != "" {
		say(build.Info, "Running start command: "+block.Command)
	}
	err := guest.Startup(ctx, block, client.Listener{
		Start: start.take, Ready: ready.take,
		Waiting:  func(cmd string) { say(build.Info, "Waiting for template to be ready: "+cmd) },
		NotReady: func(why error) { say(build.Debug, "Template is not ready: "+why.Error()) },
	})
	start.end()
	ready.end()
	var wrong *client.StartError
	if errors.As(err, &wrong) {
		for _, l := range []*lines{start, ready} {
			if words := l.words(); words != "" {
				say(build.Warn, l.prefix+" printed last:\n"+words)
			}
		}
		return &build.Failure{Message: wrong.What + ": " + r.reason(ctx, wrong.Err)}
	}
	if err == nil {
		say(build.Info, "Template is ready")
	}
	return err
}
