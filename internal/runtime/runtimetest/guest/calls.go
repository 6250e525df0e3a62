package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// calls are what a child of the guest does when it is asked to, each in a session of its own.
var calls = map[string]func() (string, error){
	"stopped":    aStoppedProcess,
	"orphaned":   anOrphanedGroup,
	"loopback":   loopbackOfANewNamespace,
	"terminal":   aTerminalWithoutReplica,
	"exec-only":  anUnreadableProgram,
	"unreadable": attributesOfAnUnreadableFile,
	"begin": func() (string, error) {
		err := os.WriteFile("/begun", nil, 0o644)
		if err == nil {
			time.Sleep(time.Hour)
		}
		return "", err
	},
	"begun": func() (string, error) {
		_, err := os.Stat("/begun")
		return "", err
	},
	"sleep":       func() (string, error) { time.Sleep(time.Hour); return "", nil },
	"stop-itself": func() (string, error) { return "", syscall.Kill(os.Getpid(), syscall.SIGSTOP) },
	"leave-stopped-child": func() (string, error) {
		child := self("stop-itself")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := child.Start(); err != nil {
			return "", err
		}
		return strconv.Itoa(child.Process.Pid), waitStopped(child.Process.Pid)
	},
	"dumpable": func() (string, error) {
		const getDumpable = 3 // PR_GET_DUMPABLE
		dumpable, _, errno := syscall.Syscall(syscall.SYS_PRCTL, getDumpable, 0, 0)
		if errno != 0 {
			return "", errno
		}
		return strconv.Itoa(int(dumpable)), nil
	},
	"trace": func() (string, error) {
		sleeper := self("sleep")
		if err := sleeper.Start(); err != nil {
			return "", err
		}
		defer func() { _ = sleeper.Process.Kill() }()
		out, err := exec.Command("/init", "attach", strconv.Itoa(sleeper.Process.Pid)).CombinedOutput()
		return string(out), err
	},
	"fork":       memoryOfAFork,
	"text":       textOfCalls,
	"names":      namesThatChange,
	"hypervisor": func() (string, error) { return hypervisor(), nil },
	"changes":    changesOfTheRoot,
	"root":       theRoot,
	"nothing":    func() (string, error) { return "", nil },
}

// child does what this program's arguments say, and ends.
func child(what, name string) {
	var text string
	var err error
	switch what {
	case "call":
		text, err = calls[name]()
	case "attach":
		pid, _ := strconv.Atoi(name)
		if err = syscall.PtraceAttach(pid); err == nil {
			text = "ok"
		}
	case "open":
		var f *os.File
		if f, err = os.Open(name); err == nil {
			text, err = "ok", f.Close()
		}
	}
	fmt.Print(text)
	if err != nil {
		fmt.Fprint(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// self is this program as a child that carries out a call.
func self(name string) *exec.Cmd { return exec.Command("/init", "call", name) }

// handleCall answers with what a call says.
func handleCall(w http.ResponseWriter, r *http.Request) {
	child := self(r.URL.Query().Get("name"))
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if uid, _ := strconv.ParseUint(r.URL.Query().Get("uid"), 10, 32); uid != 0 {
		child.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	out, err := child.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s (%w)", out, err)
	}
	reply(w, err, string(out))
}
