package main

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// aStoppedProcess says "alone" if nothing happens to its group when one of it is stopped and
// another ends.
func aStoppedProcess() (string, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGCONT, syscall.SIGUSR1)
	stopped := self("sleep")
	if err := stopped.Start(); err != nil {
		return "", err
	}
	defer func() { _ = stopped.Process.Kill() }()
	if err := stopped.Process.Signal(syscall.SIGSTOP); err != nil {
		return "", err
	}
	if err := waitStopped(stopped.Process.Pid); err != nil {
		return "", err
	}
	if err := self("nothing").Run(); err != nil {
		return "", err
	}
	// A signal of the group's would come before this one.
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		return "", err
	}
	if s := <-signals; s != syscall.SIGUSR1 {
		return s.String(), nil
	}
	return "alone", nil
}

// anOrphanedGroup says how a stopped process ends when its group becomes an orphan: by the
// hangup, because it is continued too.
func anOrphanedGroup() (string, error) {
	out, err := self("leave-stopped-child").Output()
	if err != nil {
		return "", err
	}
	pid, err := strconv.Atoi(string(out))
	if err != nil {
		return "", err
	}
	for range 500 {
		if s := processState(pid); s == "gone" || s == "Z" {
			return "ended", nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return processState(pid), nil
}

// waitStopped waits until a process is stopped.
func waitStopped(pid int) error {
	for range 500 {
		if processState(pid) == "T" {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("process %d is not stopped but %s", pid, processState(pid))
}

// processState is its letter in /proc, or "gone".
func processState(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "gone"
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[0]
}
