package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envd/account"
	"shoal/internal/envd/stream"
	pb "shoal/internal/envdapi/gen/process"
)

// Start runs a command and streams its events. The call's deadline is the
// process's lifetime; the end of the call is not.
func (s *Service) Start(ctx context.Context, req *connect.Request[pb.StartRequest],
	resp *connect.ServerStream[pb.StartResponse]) error {
	if err := stream.Ended(ctx); err != nil {
		return err // a timeout of 0 starts nothing
	}
	c, err := s.command(ctx, req.Msg.GetProcess())
	if err != nil {
		return err
	}
	deadline, limited := ctx.Deadline()
	p, sub, err := s.launch(c, req.Msg)
	if err != nil {
		return err
	}
	defer sub.leave()
	if limited {
		p.expireAfter(time.Until(deadline))
	}
	if !s.Table.add(p) {
		return connect.NewError(connect.CodeUnavailable, errors.New("the daemon is ending"))
	}
	err = follow(ctx, p, sub, stream.Keepalive(req.Header()), func(e *pb.ProcessEvent) error {
		return resp.Send(&pb.StartResponse{Event: e})
	})
	return err
}

// Connect attaches to a process that runs, or ended a moment ago. The call's
// deadline ends the stream only.
func (s *Service) Connect(ctx context.Context, req *connect.Request[pb.ConnectRequest],
	resp *connect.ServerStream[pb.ConnectResponse]) error {
	p, err := s.find(req.Msg.GetProcess())
	if connect.CodeOf(err) == connect.CodeNotFound {
		// It may have ended between the two look-ups, so this one is second.
		if p = s.Table.findEnded(req.Msg.GetProcess()); p != nil {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	sub := p.output.subscribe()
	defer sub.leave()
	return follow(ctx, p, sub, stream.Keepalive(req.Header()), func(e *pb.ProcessEvent) error {
		return resp.Send(&pb.ConnectResponse{Event: e})
	})
}

// follow sends start, then what the process prints, then its end. When it has sent nothing
// for the period of keepalive, it sends that.
func follow(ctx context.Context, p *Process, sub *subscriber, keepalive time.Duration,
	send func(*pb.ProcessEvent) error) error {
	// A send that hangs in a dead connection must not hold the process up.
	stop := context.AfterFunc(ctx, sub.leave)
	defer stop()
	start := &pb.ProcessEvent_StartEvent{Pid: p.pid}
	if err := send(&pb.ProcessEvent{Event: &pb.ProcessEvent_Start{Start: start}}); err != nil {
		return err
	}
	idle := time.NewTimer(keepalive)
	defer idle.Stop()
	for {
		var event *pb.ProcessEvent
		select {
		case chunk, more := <-sub.chunks:
			if !more {
				return finish(ctx, p, send)
			}
			event = &pb.ProcessEvent{Event: &pb.ProcessEvent_Data{Data: chunk}}
		case <-idle.C:
			alive := &pb.ProcessEvent_KeepAlive{}
			event = &pb.ProcessEvent{Event: &pb.ProcessEvent_Keepalive{Keepalive: alive}}
		case <-ctx.Done():
			return stream.Ended(ctx)
		}
		if err := send(event); err != nil {
			return err
		}
		idle.Reset(keepalive)
	}
}

// finish sends the end. A stream whose own deadline killed the process ends with that as
// its error instead: the client would take the end for that of a failed command.
func finish(ctx context.Context, p *Process, send func(*pb.ProcessEvent) error) error {
	if err := stream.Ended(ctx); err != nil {
		return err
	}
	// The process's timer may run a moment before the context's.
	if deadline, ok := ctx.Deadline(); ok && p.timedOut.Load() && !time.Now().Before(deadline) {
		return connect.NewError(connect.CodeDeadlineExceeded, context.DeadlineExceeded)
	}
	return send(&pb.ProcessEvent{Event: &pb.ProcessEvent_End{End: p.end}})
}

// command works out what a request runs, as whom, where and in which
// environment (envd.md §4.2).
func (s *Service) command(ctx context.Context, config *pb.ProcessConfig) (*command, error) {
	u, err := s.Callers.User(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := u.Resolve(config.GetCwd(), s.Settings.DefaultWorkdir())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	c := &command{name: config.GetCmd(), args: config.GetArgs(), dir: dir, user: u,
		env: s.environment(u, dir, config.GetEnvs())}
	if c.isLogin() && c.env["SHELL"] == "" && u.Shell != "" {
		// As login does. Otherwise the shell looks the user up wherever users may be
		// listed, which takes a fifth of a short command's time in a guest.
		c.env["SHELL"] = u.Shell
	}
	if err := c.checkStrings(); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: %w", dir, syscall.ENOTDIR)
	}
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("working directory: %w", err))
	}
	return c, nil
}

// isLogin says whether the command is a login shell, in which the SDKs wrap every command.
func (c *command) isLogin() bool {
	return filepath.Base(c.name) == "bash" && slices.Contains(c.args, "-l")
}

// maxLogged bounds how much of a command line is logged, in bytes.
const maxLogged = 1 << 10

// line is the command as a person would have typed it; clients wrap theirs in a login
// shell.
func (c *command) line() string {
	words := append([]string{c.name}, c.args...)
	if n := len(words); n == 4 && words[1] == "-l" && words[2] == "-c" {
		words = words[3:]
	}
	text := strings.Join(words, " ")
	if len(text) > maxLogged {
		text = strings.ToValidUTF8(text[:maxLogged], "") + " [cut]"
	}
	return text
}

func (s *Service) environment(u account.User, dir string, request map[string]string) map[string]string {
	env := map[string]string{"PATH": s.Path, "HOME": u.Home, "USER": u.Name, "LOGNAME": u.Name}
	maps.Copy(env, s.Settings.Environment())
	maps.Copy(env, request)
	env["PWD"] = dir
	return env
}

// launch starts the command and subscribes to it before anything is read.
func (s *Service) launch(c *command, req *pb.StartRequest) (*Process, *subscriber, error) {
	p := &Process{config: req.GetProcess(), tag: req.Tag, reaper: s.Reaper, output: newOutput(),
		inputTurn: make(chan struct{}, 1), signaled: make(chan struct{}), finished: make(chan struct{})}
	p.inputTurn <- struct{}{}
	p.signal = sync.OnceFunc(func() { close(p.signaled) })
	if err := p.open(c, req); err != nil {
		p.closeFiles()
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	pid, exit, err := s.Reaper.Spawn(c.fork)
	c.stdio.close()
	if err != nil {
		p.closeFiles()
		return nil, nil, connect.NewError(connect.CodeInvalidArgument,
			fmt.Errorf("start %q in %s: %w", c.name, c.dir, c.explain(err)))
	}
	p.pid, p.exit = uint32(pid), exit
	p.log = s.Log.With("logger", "process", "pid", p.pid)
	p.log.Info("Process started", "command", c.line(), "user", c.user.Name, "cwd", c.dir)
	s.settle(pid)
	return p, p.output.subscribe(), nil
}

// workloadOOMScore makes the kernel end a command before the daemon.
const workloadOOMScore = 100

// settle undoes what a child inherited from a daemon with a privileged priority. If the
// child is gone already, there is nothing to undo.
func (s *Service) settle(pid int) {
	if s.OOMScore != 0 {
		path := "/proc/" + strconv.Itoa(pid) + "/oom_score_adj"
		_ = os.WriteFile(path, []byte(strconv.Itoa(workloadOOMScore)), 0)
	}
	if s.Nice != 0 {
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, pid, 0)
	}
}
