package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	pb "shoal/internal/envdapi/gen/process"
)

// stdio are a child's first three descriptors, as we have them. They are numbers because
// an os.File asks the kernel about each.
type stdio [3]int

// none has no descriptor.
var none = stdio{-1, -1, -1}

func (s *stdio) close() {
	for i, fd := range s {
		if fd >= 0 && (i == 0 || fd != s[i-1]) { // a terminal is all three
			_ = unix.Close(fd)
		}
	}
	*s = none
}

// open makes the descriptors of both ends: the command's, and those that we read and write.
func (p *Process) open(c *command, req *pb.StartRequest) (err error) {
	c.stdio = none
	defer func() {
		if err != nil {
			c.stdio.close()
		}
	}()
	if req.Pty != nil {
		master, slave, err := openTerminal(c.user, req.Pty.GetSize().GetCols(), req.Pty.GetSize().GetRows())
		if err != nil {
			return err
		}
		p.master, p.outputs = master, []*os.File{master}
		c.tty, c.stdio = true, stdio{slave, slave, slave}
		return nil
	}
	if req.Stdin == nil || *req.Stdin {
		p.stdin, c.stdio[0], err = pipe(false)
	} else {
		c.stdio[0], err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return err
	}
	for i := 1; i <= 2; i++ {
		ours, theirs, err := pipe(true)
		if err != nil {
			return err
		}
		p.outputs, c.stdio[i] = append(p.outputs, ours), theirs
	}
	return nil
}

// pipe returns a pipe whose parent end does not block its thread, and whose other end
// is an ordinary blocking descriptor for a child.
func pipe(parentReads bool) (parent *os.File, child int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, -1, fmt.Errorf("make a pipe: %w", err)
	}
	ours, child, mode := fds[0], fds[1], unix.O_WRONLY
	if !parentReads {
		ours, child, mode = fds[1], fds[0], unix.O_RDONLY
	}
	if _, err := unix.FcntlInt(uintptr(child), unix.F_SETFL, mode); err != nil {
		_, _ = unix.Close(ours), unix.Close(child)
		return nil, -1, fmt.Errorf("make a pipe: %w", err)
	}
	return os.NewFile(uintptr(ours), "pipe"), child, nil
}
