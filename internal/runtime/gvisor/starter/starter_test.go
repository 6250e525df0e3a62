package starter_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"shoal/internal/runtime/gvisor/pin"
	"shoal/internal/runtime/gvisor/starter"
)

// TestMain lets the test binary be the starter.
func TestMain(m *testing.M) {
	if os.Args[0] == pin.StarterArgv0 {
		if err := starter.Serve(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const nobody = 65534

// shell is a command that is nobody's, in namespaces of its own, with a file as number 3.
func shell(t *testing.T, script string, file *os.File) (*exec.Cmd, []specs.LinuxNamespace) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
	cmd.Env, cmd.ExtraFiles = []string{"GIVEN=yes"}, []*os.File{file}
	id := []syscall.SysProcIDMap{{ContainerID: nobody, HostID: nobody, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UidMappings: id, GidMappings: id,
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd, []specs.LinuxNamespace{{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}}
}

// run starts a script, and returns what it has written to file 3 and its end.
func run(t *testing.T, s *starter.Starter, script string) (string, unix.WaitStatus) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	cmd, namespaces := shell(t, script, writer)
	err = s.Start(cmd, namespaces)
	writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(cmd.Process.Pid, &status, 0, nil); err != nil {
		t.Fatal("it is not a child of this process: ", err)
	}
	data := make([]byte, 4096)
	n, _ := reader.Read(data)
	return strings.TrimSpace(string(data[:n])), status
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it needs root")
	}
}

// TestStart: what is started is this process's child, in the namespaces and with the identity,
// environment and files that were asked for, and no others.
func TestStart(t *testing.T) {
	root(t)
	s := starter.New("")
	for range 3 {
		got, status := run(t, s, `echo $$ $(id -u) $GIVEN $(ls /proc/self/fd | tr '\n' ' ') >&3; exit 7`)
		if want := fmt.Sprint("1 ", nobody, " yes 0 1 2 3"); !strings.HasPrefix(got, want) {
			t.Errorf("it said %q, not %q", got, want)
		}
		if status.ExitStatus() != 7 {
			t.Errorf("it ended with %d", status.ExitStatus())
		}
	}
}

// TestLost: a starter that has ended is replaced, and what it has started goes on.
func TestLost(t *testing.T) {
	root(t)
	s := starter.New("")
	cmd, namespaces := shell(t, "sleep 60", os.Stdin)
	if err := s.Start(cmd, namespaces); err != nil {
		t.Fatal(err)
	}
	first := starters(t)
	if len(first) != 1 {
		t.Fatalf("there are %d starters", len(first))
	}
	if err := unix.Kill(first[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(starters(t)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the starter does not end")
		}
	}
	if got, _ := run(t, s, "echo here >&3"); got != "here" {
		t.Errorf("after the starter was lost, a process said %q", got)
	}
	if pid, err := unix.Wait4(cmd.Process.Pid, nil, unix.WNOHANG, nil); pid != 0 || err != nil {
		t.Errorf("what the lost one had started has ended (%d, %v)", pid, err)
	}
	_ = unix.Kill(cmd.Process.Pid, unix.SIGKILL)
	_, _ = unix.Wait4(cmd.Process.Pid, nil, 0, nil)
}

// TestRefused: a program that is not there is an error, and the starter goes on.
func TestRefused(t *testing.T) {
	root(t)
	s := starter.New("")
	cmd, namespaces := shell(t, "", os.Stdin)
	cmd.Path = "/nonexistent"
	if err := s.Start(cmd, namespaces); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("the error is %v", err)
	}
	if got, _ := run(t, s, "echo here >&3"); got != "here" {
		t.Errorf("afterwards a process said %q", got)
	}
}

// starters lists the starters among this process's children that have not ended.
func starters(t *testing.T) (pids []int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		children, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		for _, field := range strings.Fields(string(children)) {
			line, _ := os.ReadFile("/proc/" + field + "/cmdline")
			if strings.HasPrefix(string(line), pin.StarterArgv0+"\x00") {
				var pid int
				_, _ = fmt.Sscan(field, &pid)
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
