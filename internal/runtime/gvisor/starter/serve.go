package starter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/specutils"
)

// socketNumber is that of the starter's socket.
const socketNumber = 3

// tableSize is the initial size of a kernel's descriptor table. A table that has to grow
// while the kernel boots would stall it.
const tableSize = 256

// Serve starts processes for this process's parent until that hangs up.
func Serve() error {
	f := os.NewFile(socketNumber, "parent")
	conn, err := connection(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("open the socket: %w", err)
	}
	defer conn.Close()
	holdDescriptorTable()
	// Kernels lock memory to have it at once. Best effort: without it they are only slower.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	for {
		if err := serveOne(conn); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// serveOne starts one process. If nobody is there to be told of it, it is ended.
func serveOne(conn *net.UnixConn) error {
	r, files, err := receive(conn)
	if err != nil {
		return err
	}
	var a answer
	if a.PID, err = start(r, files); err != nil {
		a.Error = err.Error()
	}
	for _, f := range files {
		f.Close()
	}
	data, err := json.Marshal(a)
	if err == nil {
		_, err = conn.Write(data)
	}
	if err != nil && a.PID != 0 {
		err = errors.Join(err, unix.Kill(a.PID, unix.SIGKILL))
	}
	return err
}

func start(r request, files []*os.File) (pid int, err error) {
	cmd := &exec.Cmd{Path: r.Path, Dir: r.Dir, Args: r.Args, Env: r.Env, SysProcAttr: r.Attr}
	if r.Stderr {
		if len(files) == 0 {
			return 0, errors.New("there is no file for standard error")
		}
		cmd.Stderr, files = files[0], files[1:]
	}
	cmd.ExtraFiles = files
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_PARENT
	if err := specutils.StartInNS(cmd, r.Namespaces); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid
	return pid, cmd.Process.Release()
}

// receive reads a request and its files, which no other process gets.
func receive(conn *net.UnixConn) (r request, files []*os.File, err error) {
	data, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, rightsLen, _, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		return r, nil, err
	}
	if n == 0 {
		return r, nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rightsLen])
	if err != nil {
		return r, nil, fmt.Errorf("read the files of a request: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return r, nil, fmt.Errorf("read the files of a request: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "given"))
		}
	}
	if err := json.Unmarshal(data[:n], &r); err != nil {
		return r, nil, fmt.Errorf("read a request: %w", err)
	}
	if r.Attr == nil {
		return r, nil, errors.New("a request without attributes")
	}
	return r, files, nil
}

// holdDescriptorTable occupies the last number of a table of tableSize; children inherit
// the size, not the descriptor.
func holdDescriptorTable() {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// Best effort: if the number is in use, the table has this size already.
	_ = unix.Dup3(fd, tableSize-1, unix.O_CLOEXEC)
}
