package envd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	pb "shoal/internal/envdapi/gen/process"
)

// sh makes a request for a shell command without stdin.
func sh(script string) *pb.StartRequest {
	return &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "/bin/sh", Args: []string{"-c", script}},
		Stdin: proto.Bool(false)}
}

// events is what Start and Connect streams have in common.
type events interface {
	next() (*pb.ProcessEvent, error)
	Close() error
}

type startStream struct {
	*connect.ServerStreamForClient[pb.StartResponse]
}

func (s startStream) next() (*pb.ProcessEvent, error) {
	if !s.Receive() {
		return nil, errors.Join(s.Err(), eof(s.Err()))
	}
	return s.Msg().GetEvent(), nil
}

type connectStream struct {
	*connect.ServerStreamForClient[pb.ConnectResponse]
}

func (s connectStream) next() (*pb.ProcessEvent, error) {
	if !s.Receive() {
		return nil, errors.Join(s.Err(), eof(s.Err()))
	}
	return s.Msg().GetEvent(), nil
}

func eof(err error) error {
	if err == nil {
		return io.EOF
	}
	return nil
}

// run is one attached process.
type run struct {
	t      *testing.T
	stream events
	pid    uint32
	stdout bytes.Buffer
	stderr bytes.Buffer
	pty    bytes.Buffer
	alive  int // keepalives
	end    *pb.ProcessEvent_EndEvent
}

func (g *guest) start(ctx context.Context, req *connect.Request[pb.StartRequest]) *run {
	g.t.Helper()
	s, err := g.process.Start(ctx, req)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.attached(startStream{s})
}

func (g *guest) connect(ctx context.Context, pid uint32) *run {
	g.t.Helper()
	s, err := g.process.Connect(ctx, unary(&pb.ConnectRequest{Process: byPid(pid)}))
	if err != nil {
		g.t.Fatal(err)
	}
	return g.attached(connectStream{s})
}

func (g *guest) attached(s events) *run {
	g.t.Helper()
	first, err := s.next()
	if err != nil {
		g.t.Fatalf("no start event: %v", err)
	}
	if first.GetStart() == nil || first.GetStart().GetPid() == 0 {
		g.t.Fatalf("the first event is %v, not start", first)
	}
	g.t.Cleanup(func() { _ = s.Close() })
	return &run{t: g.t, stream: s, pid: first.GetStart().GetPid()}
}

// wait reads to the end of the stream and returns the stream's error.
func (r *run) wait() error {
	for {
		e, err := r.stream.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.end != nil {
			r.t.Errorf("event after the end: %v", e)
		}
		r.take(e)
	}
}

func (r *run) take(e *pb.ProcessEvent) {
	switch {
	case e.GetData() != nil:
		r.stdout.Write(e.GetData().GetStdout())
		r.stderr.Write(e.GetData().GetStderr())
		r.pty.Write(e.GetData().GetPty())
	case e.GetKeepalive() != nil:
		r.alive++
	case e.GetEnd() != nil:
		r.end = e.GetEnd()
	}
}

// until reads until the condition holds.
func (r *run) until(what string, ok func() bool) {
	r.t.Helper()
	for !ok() {
		e, err := r.stream.next()
		if err != nil {
			r.t.Fatalf("%s: the stream ended first: %v (stdout %q, pty %q)", what, err, r.stdout.String(),
				r.pty.String())
		}
		r.take(e)
	}
}

// mustEnd waits for the end event.
func (r *run) mustEnd() *pb.ProcessEvent_EndEvent {
	r.t.Helper()
	if err := r.wait(); err != nil {
		r.t.Fatalf("the stream failed: %v", err)
	}
	if r.end == nil {
		r.t.Fatal("the stream has no end event")
	}
	return r.end
}

func byPid(pid uint32) *pb.ProcessSelector {
	return &pb.ProcessSelector{Selector: &pb.ProcessSelector_Pid{Pid: pid}}
}

func byTag(tag string) *pb.ProcessSelector {
	return &pb.ProcessSelector{Selector: &pb.ProcessSelector_Tag{Tag: tag}}
}

func (g *guest) signal(pid uint32, sig pb.Signal) error {
	_, err := g.process.SendSignal(g.context(),
		unary(&pb.SendSignalRequest{Process: byPid(pid), Signal: sig}))
	return err
}

// killLater ends a descendant that a test leaves running on purpose.
func killLater(t *testing.T, pid string) {
	t.Helper()
	descendant := mustAtoi(t, pid)
	t.Cleanup(func() { _ = syscall.Kill(descendant, syscall.SIGKILL) })
}

func gone(pid uint32) bool { return errors.Is(syscall.Kill(int(pid), 0), syscall.ESRCH) }
