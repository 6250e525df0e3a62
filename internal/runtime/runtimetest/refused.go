package runtimetest

import (
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refusing is set for a process to which Linux refuses userfaultfd.
const refusing = "SHOAL_TEST_NO_USERFAULT"

// WithoutUserfault runs the test that calls it once more, in a process to which, and to whose children, Linux
// refuses userfaultfd, as it does in many containers. There it returns true.
func WithoutUserfault(t *testing.T) bool {
	t.Helper()
	if os.Getenv(refusing) != "" {
		if err := refuseUserfault(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.timeout=0", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), refusing+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("without userfaultfd:\n%s", out)
	switch {
	case err != nil:
		t.Error(err)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skip("skipped there")
	}
	return false
}

// refuseUserfault adds a filter for all threads of this process.
func refuseUserfault() error {
	const (
		load, equal, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
			unix.BPF_RET | unix.BPF_K
		call, secondArgument = 0, 24 // where they are in what the filter is shown
		newDescriptor        = 0xaa00
	)
	filter := []unix.SockFilter{
		{Code: load, K: call},
		{Code: equal, K: unix.SYS_USERFAULTFD, Jt: 3},
		{Code: equal, K: unix.SYS_IOCTL, Jf: 3},
		{Code: load, K: secondArgument},
		{Code: equal, K: newDescriptor, Jf: 1}, // of /dev/userfaultfd
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	goruntime.LockOSThread() // whose right to add filters without being root is the thread's
	defer goruntime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("add a filter of system calls: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("add a filter of system calls: %w", errno)
	}
	return nil
}
