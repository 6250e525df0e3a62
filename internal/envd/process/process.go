package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	pb "shoal/internal/envdapi/gen/process"
)

const (
	pipeRead     = 32 << 10 // bytes per chunk of stdout or stderr
	terminalRead = 16 << 10 // bytes per chunk of a terminal

	// drainTime bounds how long output is still read once a signaled process
	// is gone, when its descendants hold the pipes open.
	drainTime = 100 * time.Millisecond
)

var (
	errNotTerminal = errors.New("the process has no terminal")
	errIsTerminal  = errors.New("the process has a terminal")
	errNoStdin     = errors.New("the process has no open stdin")
)

// Process is one command or terminal. Its goroutines are one reader per output
// descriptor and the supervisor, which waits for them and is waited for by the
// table.
type Process struct {
	pid    uint32
	config *pb.ProcessConfig // as the client sent it
	tag    *string
	log    *slog.Logger

	reaper  *Reaper
	exit    <-chan syscall.WaitStatus
	stdin   *os.File   // a pipe's end; nil without one
	master  *os.File   // the terminal; nil without one
	outputs []*os.File // what is read
	output  *output

	inputTurn chan struct{} // has a token; keeps inputs whole and in order

	signaled chan struct{} // closed once a signal was sent through us
	signal   func()        // closes signaled once
	timedOut atomic.Bool   // the deadline killed it
	lifetime *time.Timer   // nil without a deadline

	end      *pb.ProcessEvent_EndEvent // set before finished is closed
	finished chan struct{}
}

// kill sends a signal to the process itself, never to its descendants. Once it
// is gone the streams end soon, whoever still holds its pipes.
func (p *Process) kill(sig syscall.Signal) error {
	err := p.reaper.Signal(int(p.pid), sig)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil // its descendants keep it listed; this ends that
	}
	if err == nil {
		p.signal()
	}
	return err
}

// expireAfter makes the process die at its deadline, whoever is attached.
func (p *Process) expireAfter(d time.Duration) {
	p.lifetime = time.AfterFunc(d, func() {
		p.timedOut.Store(true)
		_ = p.kill(syscall.SIGKILL) // it fails only for a process that is gone
	})
}

// supervise runs until the process and its output are over. Retire is called
// when the end is known and before any subscriber can see it.
func (p *Process) supervise(retire func()) {
	var readers sync.WaitGroup
	for i, f := range p.outputs {
		readers.Go(func() { p.read(f, i) })
	}
	silent := make(chan struct{})
	go func() {
		readers.Wait()
		close(silent)
	}()

	status := <-p.exit
	select {
	case <-silent:
	case <-p.signaled:
		p.drain()
		<-silent
	}
	if p.lifetime != nil {
		p.lifetime.Stop()
	}
	p.closeFiles()
	p.end = endEvent(status)
	p.log.Info("Process ended", "exit_code", p.end.ExitCode, "status", p.end.Status)
	retire()
	p.output.close()
	close(p.finished)
}

// drain gives the readers a last moment to read what is already in the pipes.
func (p *Process) drain() {
	deadline := time.Now().Add(drainTime)
	for _, f := range p.outputs {
		_ = f.SetReadDeadline(deadline) // always possible on pipes and terminals
	}
	time.AfterFunc(drainTime, p.output.abandon)
}

// read publishes one chunk per read, as bytes: a character may be cut in two.
func (p *Process) read(f *os.File, index int) {
	size := pipeRead
	if p.master != nil {
		size = terminalRead
	}
	buf := make([]byte, size)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			p.output.publish(p.chunk(index, append([]byte(nil), buf[:n]...)))
		}
		if err != nil {
			return // the end of file, EIO of a terminal, or the drain's deadline
		}
	}
}

func (p *Process) chunk(index int, data []byte) *pb.ProcessEvent_DataEvent {
	switch {
	case p.master != nil:
		return &pb.ProcessEvent_DataEvent{Output: &pb.ProcessEvent_DataEvent_Pty{Pty: data}}
	case index == 0:
		return &pb.ProcessEvent_DataEvent{Output: &pb.ProcessEvent_DataEvent_Stdout{Stdout: data}}
	}
	return &pb.ProcessEvent_DataEvent{Output: &pb.ProcessEvent_DataEvent_Stderr{Stderr: data}}
}

func (p *Process) closeFiles() {
	for _, f := range p.outputs {
		_ = f.Close()
	}
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}

// write sends input, stdin bytes or terminal bytes. Inputs of several callers
// never mix; a caller that leaves gives up what was not taken.
func (p *Process) write(ctx context.Context, data []byte, terminal bool) error {
	to, gone := p.stdin, errNoStdin
	switch {
	case terminal && p.master == nil:
		return errNotTerminal
	case !terminal && p.master != nil:
		return errIsTerminal
	case terminal:
		to, gone = p.master, errNotTerminal
	case to == nil:
		return gone
	}
	select {
	case <-p.inputTurn:
		defer func() { p.inputTurn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if len(data) == 0 {
		return nil
	}
	err := writeFile(ctx, to, data)
	if errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) {
		return gone // closed meanwhile, or nobody is left to read it
	}
	return err
}

// writeFile is a write that the context can interrupt.
func writeFile(ctx context.Context, f *os.File, data []byte) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = f.SetWriteDeadline(time.Unix(1, 0))
	})
	_, err := f.Write(data)
	if !stop() {
		<-interrupted
		_ = f.SetWriteDeadline(time.Time{})
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// closeStdin gives the process the end of its input. It may be repeated.
func (p *Process) closeStdin() error {
	if p.master != nil {
		return errIsTerminal
	}
	if p.stdin == nil {
		return nil
	}
	if err := p.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// endEvent describes an exit status (envd.md §2.4).
func endEvent(status syscall.WaitStatus) *pb.ProcessEvent_EndEvent {
	if status.Signaled() {
		text := "signal: " + status.Signal().String()
		if status.CoreDump() {
			text += " (core dumped)"
		}
		return &pb.ProcessEvent_EndEvent{ExitCode: -1, Status: text, Error: proto.String(text)}
	}
	end := &pb.ProcessEvent_EndEvent{ExitCode: int32(status.ExitStatus()), Exited: true,
		Status: fmt.Sprintf("exit status %d", status.ExitStatus())}
	if end.ExitCode != 0 {
		end.Error = proto.String(end.Status)
	}
	return end
}
