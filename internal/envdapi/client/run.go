package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"shoal/internal/envdapi/gen/filesystem"
	"shoal/internal/envdapi/gen/process"
	"shoal/internal/envdapi/gen/process/processconnect"
)

// Command is a program to run in a guest.
type Command struct {
	User string // "" is the guest's default
	Args []string
	Env  map[string]string // beside what the daemon sets
	Dir  string            // "" is the user's home
}

// Shell is a command line in a login shell, in which the SDKs wrap every command.
func Shell(line string) []string { return []string{"/bin/bash", "-l", "-c", line} }

// Output takes what a command prints, in pieces as they come. It is called by one
// goroutine.
type Output func(stderr bool, data []byte)

// ExitError says how a command ended that did not succeed.
type ExitError struct {
	Code   int
	Status string // "exit status 1", "signal: killed"
}

var _ error = (*ExitError)(nil)

// Error returns the status.
func (e *ExitError) Error() string { return e.Status }

// Killed reports whether the command was killed, most likely for want of memory. A shell ends
// with 137 if what it ran was.
func (e *ExitError) Killed() bool { return e.Status == "signal: killed" || e.Code == 137 }

// Run runs a command without input and waits for its end, which is an *ExitError unless it
// is 0. The output ends when all processes that hold it have ended, which may be long after
// the command. started, if set, is called with its process ID when it runs. When ctx ends,
// Run returns, and the command goes on; a deadline of ctx, however, ends the command.
func (c *Client) Run(ctx context.Context, cmd Command, started func(pid uint32), out Output) error {
	return c.run(ctx, c.process(), cmd, started, out)
}

// WarmUp lets the daemon do once what its first client will ask for, since the first time
// takes several times as long as the second: it runs a command line in a user's login shell,
// in JSON as the SDKs do. How the command ends does not matter.
func (c *Client) WarmUp(ctx context.Context, user string) error {
	calls := processconnect.NewProcessClient(c.http, c.base, bounded, connect.WithProtoJSON())
	err := c.run(ctx, calls, Command{User: user, Args: Shell("true")}, nil, func(bool, []byte) {})
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}

func (c *Client) run(ctx context.Context, calls processconnect.ProcessClient, cmd Command,
	started func(pid uint32), out Output) error {
	return shortened(c.follow(ctx, calls, cmd, started, out))
}

// follow starts a command and hears what comes of it. Of several starts, which only a
// daemon that is not ours announces, the first counts.
func (c *Client) follow(ctx context.Context, calls processconnect.ProcessClient, cmd Command,
	started func(pid uint32), out Output) error {
	stdin := false
	config := &process.ProcessConfig{Cmd: cmd.Args[0], Args: cmd.Args[1:], Envs: cmd.Env}
	if cmd.Dir != "" {
		config.Cwd = &cmd.Dir
	}
	req := connect.NewRequest(&process.StartRequest{Process: config, Stdin: &stdin})
	c.identify(req.Header(), cmd.User)
	stream, err := calls.Start(ctx, req)
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		switch event := stream.Msg().GetEvent().GetEvent().(type) {
		case *process.ProcessEvent_Start:
			if started != nil {
				started(event.Start.GetPid())
				started = nil
			}
		case *process.ProcessEvent_Data:
			if data := event.Data.GetStdout(); len(data) > 0 {
				out(false, data)
			}
			if data := event.Data.GetStderr(); len(data) > 0 {
				out(true, data)
			}
		case *process.ProcessEvent_End:
			if event.End.GetExitCode() == 0 && event.End.GetExited() {
				return nil
			}
			return &ExitError{Code: int(event.End.GetExitCode()), Status: short(event.End.GetStatus())}
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return errors.New("the connection to the guest was lost")
}

// Text runs a command that prints little and returns its standard output; an error has
// what it wrote to standard error.
func (c *Client) Text(ctx context.Context, cmd Command) (string, error) {
	const limit = 64 << 10
	var stdout, stderr strings.Builder
	err := c.Run(ctx, cmd, nil, func(isErr bool, data []byte) {
		to := &stdout
		if isErr {
			to = &stderr
		}
		to.Write(data[:min(len(data), limit-to.Len())])
	})
	if text := strings.TrimSpace(stderr.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, short(text))
	}
	return stdout.String(), err
}

// Lives reports whether a process of the guest has not ended yet, whoever holds its
// output.
func (c *Client) Lives(ctx context.Context, pid uint32) (bool, error) {
	req := connect.NewRequest(&filesystem.StatRequest{Path: fmt.Sprintf("/proc/%d", pid)})
	c.identify(req.Header(), "root")
	_, err := c.filesystem().Stat(ctx, req)
	if connect.CodeOf(err) == connect.CodeNotFound {
		return false, nil
	}
	return err == nil, shortened(err)
}
