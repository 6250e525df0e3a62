package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// aTerminalWithoutReplica says what the master of a terminal reads before its replica is opened
// for the first time, while it is open, and after it was closed.
func aTerminalWithoutReplica() (string, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return "", err
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return "", err
	}
	text := masterSays(master)
	replica, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	text += ", " + masterSays(master)
	unix.Close(replica)
	return text + ", " + masterSays(master), nil
}

func masterSays(master int) string {
	_, err := unix.Read(master, make([]byte, 9))
	var errno unix.Errno
	errors.As(err, &errno)
	fds := []unix.PollFd{{Fd: int32(master), Events: unix.POLLIN}}
	_, _ = unix.Poll(fds, 0)
	text := unix.ErrnoName(errno)
	if fds[0].Revents&unix.POLLHUP != 0 {
		text += " POLLHUP"
	}
	return text
}

// anUnreadableProgram says what another user than its owner may do with a program of mode 0111,
// and with such a script.
func anUnreadableProgram() (string, error) {
	program, err := os.ReadFile("/init")
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile("/run-only", program, 0o111),
		os.WriteFile("/script", []byte("#!/init open\n"), 0o111)); err != nil {
		return "", err
	}
	as := func(path string, args ...string) string {
		child := exec.Command(path, args...)
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		out, err := child.CombinedOutput()
		if err != nil && len(out) == 0 {
			return err.Error()
		}
		return string(out)
	}
	return fmt.Sprintf("dumpable %s, others %s; %s; %s; script %s", as("/run-only", "call", "dumpable"),
		as("/init", "call", "dumpable"),
		as("/init", "open", "/run-only"), as("/run-only", "open", "/proc/self/exe"), as("/script")), nil
}

// attributesOfAnUnreadableFile says what a user gets who asks for the extended attributes of
// files that only root may read.
func attributesOfAnUnreadableFile() (string, error) {
	text := ""
	for _, path := range []string{"/secret", "/dev/shm/secret"} {
		for _, name := range []string{"security.selinux", "trusted.any", "user.any"} {
			_, err := unix.Lgetxattr(path, name, make([]byte, 99))
			var errno unix.Errno
			errors.As(err, &errno)
			text += fmt.Sprintln(path, name, unix.ErrnoName(errno))
		}
	}
	return text, nil
}
