package firecracker

import (
	"encoding/json"
	"os"
	"os/exec"
	"syscall"
)

// server is a process that serves something to a guest: its disk and memory, or a volume.
type server struct {
	command string  // of the program cmd/attendant
	name    string  // of the server's files beside the root of the jail
	config  any     // what it serves, as JSON
	unshare uintptr // the namespaces that it has of its own (CLONE_NEW…)
}

// startServer starts a server in the guest's cgroup, in which it ends with the guest. The channel is closed when
// it has ended.
func (d *Driver) startServer(j *jail, s server) (pid int, ended <-chan struct{}, err error) {
	data, err := json.Marshal(s.config)
	if err != nil {
		return 0, nil, err
	}
	config := j.beside(s.name + ".json")
	if err := os.WriteFile(config, data, 0o600); err != nil {
		return 0, nil, err
	}
	group, err := d.groups.open(j.ID)
	if err != nil {
		return 0, nil, err
	}
	defer group.Close()
	log, err := os.OpenFile(j.serverLog(s.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	cmd := &exec.Cmd{Path: d.opts.Attendant, Args: []string{d.opts.Attendant, s.command, config}, Env: []string{},
		Stdout: log, Stderr: log}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd()),
		Unshareflags: s.unshare}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	done := make(chan struct{})
	go func() { // ends with the server, which is in the guest's group
		defer close(done)
		_ = cmd.Wait()
	}()
	return cmd.Process.Pid, done, nil
}

func (j *jail) serverLog(name string) string { return j.beside(name + ".log") }

// lastWords is the end of what a server has said.
func (j *jail) lastWords(name string) string {
	data, _ := os.ReadFile(j.serverLog(name))
	return string(data[max(len(data)-1000, 0):])
}
