package process

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// execute runs a program to its end and returns its output and status.
func execute(dir string, args ...string) (string, syscall.WaitStatus, error) {
	out, child, err := pipe(true)
	if err != nil {
		return "", 0, err
	}
	defer out.Close()
	p, err := newProgram(args[0], args, []string{"A=b"}, dir)
	if err != nil {
		return "", 0, err
	}
	p.stdio = stdio{child, child, child}
	pid, err := p.start()
	p.stdio.close()
	if err != nil {
		return "", 0, err
	}
	var text strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			break
		}
	}
	var status syscall.WaitStatus
	_, err = syscall.Wait4(pid, &status, 0, nil)
	return text.String(), status, err
}

// TestProgramBeginsClean: no signal is blocked or caught, and the session is its own.
func TestProgramBeginsClean(t *testing.T) {
	script := `sed -n '/^Sig[BC]/p' /proc/self/status; pwd; ` +
		`[ "$(cut -d' ' -f6 /proc/$$/stat)" = $$ ] && echo leads; echo $A`
	out, status, err := execute("/usr", "/bin/sh", "-c", script)
	if err != nil || status != 0 {
		t.Fatalf("%v, status %v", err, status)
	}
	want := "SigBlk:\t0000000000000000\nSigCgt:\t0000000000000000\n/usr\nleads\nb\n"
	if out != want {
		t.Errorf("%q, want %q", out, want)
	}
}

// TestProgramThatFails: the child's error is returned, and the child is gone.
func TestProgramThatFails(t *testing.T) {
	for want, c := range map[error][2]string{
		unix.ENOENT:  {"/nowhere", "/bin/true"},
		unix.EACCES:  {"/", "/etc/passwd"},
		unix.ENOTDIR: {"/", "/etc/passwd/x"},
	} {
		if _, _, err := execute(c[0], c[1]); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", c, err, want)
		}
	}
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

// TestProgramsAtOnce starts programs from many goroutines while memory is collected: what a
// child does to the shared memory must go unnoticed.
func TestProgramsAtOnce(t *testing.T) {
	const workers, rounds = 8, 50
	stop := make(chan struct{})
	var collector, g sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	text := strings.Repeat("x", 10_000)
	for range workers {
		g.Go(func() {
			for range rounds {
				if out, status, err := execute("/", "/bin/echo", "-n", text); err != nil || status != 0 ||
					out != text {
					t.Errorf("%d bytes, status %v, %v", len(out), status, err)
					return
				}
			}
		})
	}
	g.Wait()
	close(stop)
	collector.Wait()
}
