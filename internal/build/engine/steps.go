package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"

	"connectrpc.com/connect"

	"shoal/internal/build"
	"shoal/internal/build/engine/variables"
	"shoal/internal/envdapi/client"
	"shoal/internal/shoal"
)

// step carries out one step of the template (templates.md §3.5).
func (r *run) step(ctx context.Context, index int, s build.Step) error {
	p := phase{step: build.StepNumber(index), force: s.Force, disk: true,
		title: fmt.Sprintf("[builder %d/%d] %s", index+1, len(r.job.Steps), s),
		parts: []string{s.Type, strings.Join(s.Args, " "), s.FilesHash}}
	switch s.Type {
	case "RUN":
		p.do = func(ctx context.Context, out *lines) error { return r.command(ctx, s.Args, out) }
	case "COPY", "ADD":
		p.debug = true
		p.do = func(ctx context.Context, out *lines) error {
			return within(ctx, transferLimit, "copying '"+s.Args[0]+"'",
				"leave out what the template does not need, by .dockerignore for example",
				func(ctx context.Context) error { return r.copy(ctx, s) })
		}
	case "WORKDIR":
		p.do = func(ctx context.Context, out *lines) error { return r.workdir(ctx, s.Args[0]) }
	case "USER":
		p.do = func(ctx context.Context, out *lines) error {
			name, err := r.expand(s.Args[0])
			if err != nil {
				return err
			}
			return r.user(ctx, name, len(s.Args) > 1 && s.Args[1] == "true")
		}
	case "ENV", "ARG":
		p.disk = false
		p.do = func(context.Context, *lines) error { return r.env(s.Args) }
	default:
		return fmt.Errorf("a step of type %s", s.Type) // the queue rejects these
	}
	return r.phase(ctx, p)
}

// command carries out RUN.
func (r *run) command(ctx context.Context, args []string, out *lines) error {
	guest, err := r.guest(ctx)
	if err != nil {
		return err
	}
	cmd := client.Command{User: r.context.User, Args: client.Shell(args[0]), Env: r.e.stepEnv(r.context),
		Dir: r.context.Workdir}
	if len(args) > 1 && args[1] != "" {
		cmd.User = args[1]
	}
	if err = runWatched(ctx, guest, cmd, out); err == nil {
		return nil
	}
	what := "failed to run command '" + args[0] + "'"
	if connect.IsWireError(err) {
		what += ": command failed" // it could not be started
	}
	return r.failed(ctx, what, err)
}

func (r *run) env(pairs []string) error {
	if r.context.Env == nil {
		r.context.Env = map[string]string{}
	}
	size := 0
	for name, value := range r.context.Env {
		size += len(name) + len(value)
	}
	// As in a Dockerfile, values are those of before the step. A variable that was not set
	// has the value that the step gives it.
	seen := maps.Clone(r.context.Env)
	for i := 0; i+1 < len(pairs); i += 2 {
		value, err := expand(pairs[i+1], seen)
		if err != nil {
			return err
		}
		if n := len(pairs[i]) + len(value); n > shoal.MaxVariable {
			return &build.Failure{Message: fmt.Sprintf("the variable %.64q has %d bytes; a name and its value may have at most %d together, or else no program starts",
				pairs[i], n, shoal.MaxVariable)}
		}
		if size += len(pairs[i]) + len(value) - len(r.context.Env[pairs[i]]); size > variables.MaxSize {
			return &build.Failure{Message: fmt.Sprintf("the variables of the template are larger than %d MiB in all",
				variables.MaxSize>>20)}
		}
		if _, before := r.context.Env[pairs[i]]; !before {
			seen[pairs[i]] = value
		}
		r.context.Env[pairs[i]] = value
	}
	return nil
}

func (r *run) workdir(ctx context.Context, dir string) error {
	dir, err := r.expand(dir)
	if err != nil {
		return err
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", r.context.Workdir, dir)
	}
	at, err := r.runScript(ctx, "workdir", dir, r.context.User)
	if err != nil {
		return r.failed(ctx, "failed to set the working directory '"+dir+"'", err)
	}
	r.context.Workdir = strings.TrimSuffix(at, "\n")
	return nil
}

func (r *run) user(ctx context.Context, name string, sudo bool) error {
	switch {
	case name == "":
		return &build.Failure{Message: "failed to create user: the name is empty; " +
			"it may be a variable that no ENV before it sets"}
	case strings.HasPrefix(name, "-"):
		return &build.Failure{Message: fmt.Sprintf("failed to create user: '%s' is no user name", name)}
	}
	name, group, _ := strings.Cut(name, ":")
	account, err := r.account(ctx, name, sudo, group)
	if err != nil {
		return r.failed(ctx, "failed to create user", err)
	}
	r.context.User = account
	return nil
}

// account creates a user, given by name or number, unless it exists, and returns its name.
func (r *run) account(ctx context.Context, name string, sudo bool, group string) (string, error) {
	account, err := r.runScript(ctx, "user", name, fmt.Sprint(sudo), group)
	return strings.TrimSuffix(account, "\n"), err
}

// copy carries out COPY (templates.md §2.4).
func (r *run) copy(ctx context.Context, s build.Step) error {
	archive, err := r.e.cfg.Files.Open(r.job.CacheScope, s.FilesHash)
	if errors.Is(err, build.ErrNoFiles) {
		return &build.Failure{Message: fmt.Sprintf("the files of '%s' were not uploaded; %s", s.Args[0],
			uploadAgain)}
	}
	if err != nil {
		return err
	}
	defer archive.Close()
	guest, err := r.guest(ctx)
	if err != nil {
		return err
	}
	const inside = "/tmp/.shoal-copy-archive"
	what := "failed to copy '" + s.Args[0] + "' to '" + s.Args[1] + "'"
	if err := guest.Put(ctx, inside, archive); err != nil {
		return r.failed(ctx, what, err)
	}
	var args [4]string
	for i := 1; i < min(len(s.Args), len(args)); i++ {
		if args[i], err = r.expand(s.Args[i]); err != nil {
			return err
		}
	}
	dest, owner, mode := args[1], args[2], args[3]
	if owner == "" {
		owner = r.context.User
	}
	source := sourceInArchive(s.Args[0])
	_, err = r.runScript(ctx, "copy", inside, source, dest, r.context.Workdir, r.context.User, owner,
		mode)
	var exit *client.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Code == noSource:
		good, checkErr := r.e.cfg.Files.Check(ctx, r.job.CacheScope, s.FilesHash, source)
		if checkErr != nil {
			return checkErr
		}
		if !good {
			return &build.Failure{Message: fmt.Sprintf("%s: %v; what was uploaded is not what the step needs: %s",
				what, err, uploadAgain)}
		}
	}
	return r.failed(ctx, what, err)
}

// uploadAgain is the advice for files that did not arrive unchanged.
const uploadAgain = "build again, with forceUpload if it persists"

// noSource is the exit code of copy.sh if it did not find the source in the archive, or
// could not unpack the archive.
const noSource = 3
