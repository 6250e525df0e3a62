package installation

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running shoal command. Its output is kept.
type Process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has exited
	err  error         // the result of Wait
}

// PID returns the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns what the process has printed so far.
func (p *Process) Output() string {
	out, _ := p.out.state()
	return out
}

// Tail returns the last lines of the output.
func (p *Process) Tail() string { return tail(p.Output()) }

// AwaitLine waits until the output contains text.
func (p *Process) AwaitLine(text string, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		out, change := p.out.state()
		if strings.Contains(out, text) {
			return nil
		}
		select {
		case <-change:
		case <-p.done:
			if out, _ := p.out.state(); strings.Contains(out, text) {
				return nil
			}
			return fmt.Errorf("ended before it said %q: %w\n%s", text, p.err, tail(out))
		case <-timer.C:
			return fmt.Errorf("did not say %q within %s:\n%s", text, limit, tail(out))
		}
	}
}

// Stop asks the process to exit and waits for it. If it does not exit within the limit,
// Stop kills it and returns an error.
func (p *Process) Stop(sig syscall.Signal, limit time.Duration) error {
	select {
	case <-p.done: // it has already exited, perhaps because of `shoal down`
		return p.err
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("did not end within %s after %s:\n%s", limit, sig, p.Tail())
	}
}

// Kill kills the process, as a crash would end it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// output collects lines and wakes those who wait for one.
type output struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	change chan struct{}
}

func newOutput() *output { return &output{change: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.change)
	o.change = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) state() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.change
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
