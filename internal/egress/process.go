package egress

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a steward's connection to a process.
type process struct {
	pid    int
	socket string
	client *http.Client
	gone   <-chan struct{} // closed at its end; nil if an earlier orchestrator has started it
	// watched is guarded by Steward.mu.
	watched bool

	last   atomic.Pointer[state] // that it told
	silent atomic.Int32          // questions since then that it has not answered
	hung   atomic.Bool           // it was ended because of that
}

func newProcess(pid int, socket string) *process {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &process{pid: pid, socket: socket,
		client: &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 4, IdleConnTimeout: time.Minute}}}
}

// controlTime bounds a question to a process. It is longer than the default patience with one that
// hangs, so who asks meanwhile sees its end, and asks the one that takes its place.
const controlTime = 20 * time.Second

// ask sends a request, with what as its body unless it is nil, and decodes the answer.
func (p *process) ask(ctx context.Context, method, path string, what, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, controlTime)
	defer cancel()
	var body string
	if what != nil {
		data, err := json.Marshal(what)
		if err != nil {
			return err
		}
		body = string(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://egress"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the egress process answers %s to %s %s", resp.Status, method, path)
	}
	if answer == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

func (p *process) state(ctx context.Context) (st state, err error) {
	if err = p.ask(ctx, http.MethodGet, "/state", nil, &st); err == nil {
		p.last.Store(&st)
	}
	return st, err
}

// stateNow is what the process told last.
func (p *process) stateNow() state {
	if st := p.last.Load(); st != nil {
		return *st
	}
	return state{}
}

// hasEnded tells whether nobody listens at its socket any more.
func (p *process) hasEnded(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: controlTime}
	// That a caller has gone says nothing about the process.
	c, err := dialer.DialContext(context.WithoutCancel(ctx), "unix", p.socket)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}

// newChild is the connection to a process that this one has started. Its end is waited for, so that
// the host's kernel may forget it; the goroutine ends with the process, which may outlive the steward.
func newChild(child *os.Process, socket string) *process {
	p, gone := newProcess(child.Pid, socket), make(chan struct{})
	p.gone = gone
	go func() {
		defer close(gone)
		_, _ = child.Wait() // how it ended is in its log
	}()
	return p
}

// watch returns when the process has ended, or ctx has.
func (p *process) watch(ctx context.Context) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://egress/life", nil)
	if err != nil {
		return
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return // Run looks at it every second besides
	}
	defer resp.Body.Close()
	_, _ = resp.Body.Read(make([]byte, 1))
}

// endTime is how long a process may take to end before it is killed.
const endTime = 5 * time.Second

// end ends the process with its connections, and returns when it is gone.
func (p *process) end(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, endTime)
	_ = p.ask(asking, http.MethodPost, "/quit", nil, nil) // its end may be sooner than its answer
	cancel()
	if !p.awaitEnd(ctx, endTime) {
		if err := unix.Kill(p.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the egress process %d: %w", p.pid, err)
		}
		if !p.awaitEnd(ctx, endTime) {
			return fmt.Errorf("the egress process %d does not end: %w", p.pid, context.Cause(ctx))
		}
	}
	return p.tidy()
}

// kill ends a process that does not listen to anybody, and returns when it is gone. It is asked for
// what its goroutines wait for first.
func (p *process) kill(ctx context.Context) error {
	for _, step := range []struct {
		signal unix.Signal
		within time.Duration
	}{{unix.SIGQUIT, stackTime}, {unix.SIGKILL, endTime}} {
		if p.isOurs() {
			_ = unix.Kill(p.pid, step.signal) // it may be gone
		}
		if p.awaitEnd(ctx, step.within) {
			if err := os.Rename(logOf(p.socket), p.hungLog()); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return nil
		}
	}
	return errors.New("it outlives SIGKILL")
}

// hungLog is where the log of the last process that hung is kept.
func (p *process) hungLog() string { return filepath.Join(filepath.Dir(p.socket), "hung.log") }

// awaitEnd tells whether the process is gone within a time.
func (p *process) awaitEnd(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if p.gone == nil && !p.isOurs() {
			return true
		}
		select {
		case <-p.gone:
			return true
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// tidy removes the files of a process that has ended.
func (p *process) tidy() error {
	return errors.Join(removeIfThere(p.socket), removeIfThere(logOf(p.socket)))
}

// lastWords is the end of a process's log.
func (p *process) lastWords() string {
	data, err := os.ReadFile(logOf(p.socket))
	if err != nil {
		return ""
	}
	return string(data[max(0, len(data)-maxLastWords):])
}

const maxLastWords = 2 << 10 // bytes

// isOurs tells whether the process with the number is an egress process at all: another may have
// got the number.
func (p *process) isOurs() bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	if err != nil {
		return false
	}
	return strings.HasPrefix(string(data), programName+"\x00")
}

// programName is what a process is started as.
const programName = "shoal-egress"

// logOf is the log of the process that has a socket.
func logOf(socket string) string { return strings.TrimSuffix(socket, socketSuffix) + ".log" }

// Launch starts a process by a program, its arguments and its environment, in a session of its
// own, so that it outlives this one, and returns when it serves.
func Launch(ctx context.Context, program string, args, env []string) (*os.Process, error) {
	cmd := exec.Command(program, args...) //nolint:noctx // it outlives whoever starts it
	cmd.Args[0], cmd.Env, cmd.Dir = programName, env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer said.Close()
	ready := make(chan error, 1)
	go func() { // ends with the process's first line, or with its end
		_, err := bufio.NewReader(said).ReadString('\n')
		ready <- err
	}()
	ctx, cancel := context.WithTimeout(ctx, controlTime)
	defer cancel()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
		return nil, fmt.Errorf("the process does not serve: %w", err)
	}
	return cmd.Process, nil
}
