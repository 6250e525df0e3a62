package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	patience    = 20 * time.Second
	inNamespace = "ENVD_TEST_FIRST_PROCESS"
)

// TestMain runs the test binary as process 1 of a namespace when asked to.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" {
		if err := firstProcess(); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println("passed")
		return
	}
	os.Exit(m.Run())
}

func runReaper(orphans bool) (r *Reaper, stop func()) {
	r = &Reaper{Orphans: orphans}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	return r, func() {
		cancel()
		<-done
	}
}

func shellChild(r *Reaper, script string) (int, <-chan syscall.WaitStatus, error) {
	return r.Spawn(func() (int, error) {
		return syscall.ForkExec(shell, []string{shell, "-c", script},
			&syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	})
}

func await(exit <-chan syscall.WaitStatus) (syscall.WaitStatus, error) {
	select {
	case status := <-exit:
		return status, nil
	case <-time.After(patience):
		return 0, errors.New("no exit status arrives")
	}
}

// firstProcess is what must hold for process 1: orphans do not stay zombies,
// and no child's status is lost, however fast the child ends.
func firstProcess() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("process %d, not 1", os.Getpid())
	}
	r, stop := runReaper(true)
	defer stop()
	for i := range 100 {
		_, exit, err := shellChild(r, "(/bin/true & ) ; exit "+strconv.Itoa(i))
		if err != nil {
			return err
		}
		status, err := await(exit)
		if err != nil || status.ExitStatus() != i {
			return fmt.Errorf("child %d: status %d, %w", i, status.ExitStatus(), err)
		}
	}
	// A second child makes sure that the last orphan was seen.
	deadline := time.Now().Add(patience)
	for {
		var info syscall.Rusage
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, &info)
		if errors.Is(err, syscall.ECHILD) {
			return nil
		}
		if pid > 0 {
			continue // collected here instead; that is no loss
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("children are left: %d, %w", pid, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestFirstProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("no process namespaces here: ", err)
	}
	if err != nil || !strings.Contains(string(out), "passed") {
		t.Errorf("%v: %s", err, out)
	}
}

// Otherwise other children are left to those who started them.
func TestReaperLeavesOthersAlone(t *testing.T) {
	r, stop := runReaper(false)
	defer stop()
	for range 20 {
		other := exec.Command("/bin/sh", "-c", "exit 3")
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		_, exit, err := shellChild(r, "exit 4")
		if err != nil {
			t.Fatal(err)
		}
		if status, err := await(exit); err != nil || status.ExitStatus() != 4 {
			t.Errorf("ours: %d, %v", status.ExitStatus(), err)
		}
		var failed *exec.ExitError
		if err := other.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 3 {
			t.Errorf("the other's: %v", err)
		}
	}
}

func TestReaperSignal(t *testing.T) {
	r, stop := runReaper(false)
	defer stop()
	pid, exit, err := shellChild(r, "exec sleep 300")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Signal(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status, err := await(exit); err != nil || status.Signal() != syscall.SIGKILL {
		t.Errorf("status %v, %v", status, err)
	}
	if err := r.Signal(pid, syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a collected child: %v", err)
	}
	if err := r.Signal(os.Getpid(), 0); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a process that is no child: %v", err)
	}
}
