// Package process runs the sandbox's commands and terminals (envd.md §2.3 and
// §2.4): the process table, its RPC service, and the reaper of process 1.
package process

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envd/access"
	"shoal/internal/envd/settings"
	pb "shoal/internal/envdapi/gen/process"
	"shoal/internal/envdapi/gen/process/processconnect"
)

// killWait bounds how long SendSignal waits for a killed process to be gone.
// Clients look for it right after.
const killWait = time.Second

// Service is the RPC service process.Process.
type Service struct {
	Callers  access.Callers
	Settings *settings.Settings
	Reaper   *Reaper
	Table    *Table
	Path     string // the PATH of new processes
	OOMScore int    // the daemon's own oom_score_adj, which children must not inherit
	Nice     int    // the daemon's own nice value, likewise
	Log      *slog.Logger
}

var _ processconnect.ProcessHandler = (*Service)(nil)

func noSelector() error {
	return connect.NewError(connect.CodeUnimplemented, errors.New("the request selects no process"))
}

// find returns the selected running process or a Connect error.
func (s *Service) find(selector *pb.ProcessSelector) (*Process, error) {
	if selector.GetSelector() == nil {
		return nil, noSelector()
	}
	if p := s.Table.find(selector); p != nil {
		return p, nil
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such process is running"))
}

// List returns what runs, with the configuration as it was requested.
func (s *Service) List(context.Context, *connect.Request[pb.ListRequest],
) (*connect.Response[pb.ListResponse], error) {
	resp := &pb.ListResponse{}
	for _, p := range s.Table.list() {
		resp.Processes = append(resp.Processes, &pb.ProcessInfo{Config: p.config, Pid: p.pid, Tag: p.tag})
	}
	return connect.NewResponse(resp), nil
}

// Update resizes a terminal.
func (s *Service) Update(_ context.Context, req *connect.Request[pb.UpdateRequest],
) (*connect.Response[pb.UpdateResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	if pty := req.Msg.GetPty(); pty != nil {
		if p.master == nil {
			return nil, connect.NewError(connect.CodeInternal, errNotTerminal)
		}
		if err := resize(p.master, pty.GetSize().GetCols(), pty.GetSize().GetRows()); err != nil {
			return nil, connect.NewError(connect.CodeInternal, err)
		}
	}
	return connect.NewResponse(&pb.UpdateResponse{}), nil
}

// SendSignal signals the process itself. After SIGKILL it waits until the
// process was collected, so that its ID no longer answers.
func (s *Service) SendSignal(ctx context.Context, req *connect.Request[pb.SendSignalRequest],
) (*connect.Response[pb.SendSignalResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	var sig syscall.Signal
	switch req.Msg.GetSignal() {
	case pb.Signal_SIGNAL_SIGKILL:
		sig = syscall.SIGKILL
	case pb.Signal_SIGNAL_SIGTERM:
		sig = syscall.SIGTERM
	default:
		return nil, connect.NewError(connect.CodeUnimplemented,
			errors.New("only SIGKILL and SIGTERM can be sent"))
	}
	if err := p.kill(sig); err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	if sig == syscall.SIGKILL {
		wait := time.NewTimer(killWait)
		defer wait.Stop()
		select {
		case <-p.finished:
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	return connect.NewResponse(&pb.SendSignalResponse{}), nil
}

// SendInput writes to stdin or the terminal.
func (s *Service) SendInput(ctx context.Context, req *connect.Request[pb.SendInputRequest],
) (*connect.Response[pb.SendInputResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	if err := input(ctx, p, req.Msg.GetInput()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.SendInputResponse{}), nil
}

// StreamInput is SendInput for a stream that first names its process.
func (s *Service) StreamInput(ctx context.Context, stream *connect.ClientStream[pb.StreamInputRequest],
) (*connect.Response[pb.StreamInputResponse], error) {
	var p *Process
	for stream.Receive() {
		switch event := stream.Msg().GetEvent().(type) {
		case *pb.StreamInputRequest_Start:
			found, err := s.find(event.Start.GetProcess())
			if err != nil {
				return nil, err
			}
			p = found
		case *pb.StreamInputRequest_Data:
			if p == nil {
				return nil, noSelector()
			}
			if err := input(ctx, p, event.Data.GetInput()); err != nil {
				return nil, err
			}
		case *pb.StreamInputRequest_Keepalive:
		default:
			return nil, connect.NewError(connect.CodeUnimplemented,
				errors.New("the message has no known event"))
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.StreamInputResponse{}), nil
}

func input(ctx context.Context, p *Process, in *pb.ProcessInput) error {
	var err error
	switch data := in.GetInput().(type) {
	case *pb.ProcessInput_Stdin:
		err = p.write(ctx, data.Stdin, false)
	case *pb.ProcessInput_Pty:
		err = p.write(ctx, data.Pty, true)
	default:
		return connect.NewError(connect.CodeUnimplemented,
			errors.New("the input is neither for stdin nor for a terminal"))
	}
	if err != nil {
		return connect.NewError(connect.CodeInternal, err)
	}
	return nil
}

// CloseStdin ends the process's input.
func (s *Service) CloseStdin(_ context.Context, req *connect.Request[pb.CloseStdinRequest],
) (*connect.Response[pb.CloseStdinResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	if err := p.closeStdin(); err != nil {
		return nil, connect.NewError(connect.CodeUnknown, err)
	}
	return connect.NewResponse(&pb.CloseStdinResponse{}), nil
}
