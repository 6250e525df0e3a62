package process

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"shoal/internal/envd/account"
)

// openTerminal allocates a terminal for the user. The master does not block its thread; the
// slave is for the child alone. github.com/creack/pty makes the master block, so that a
// read could have no deadline.
func openTerminal(u account.User, cols, rows uint32) (master *os.File, slave int, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, -1, fmt.Errorf("number of the terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, -1, fmt.Errorf("unlock the terminal: %w", err)
	}
	if err := setSize(fd, cols, rows); err != nil {
		return nil, -1, err
	}
	name := "/dev/pts/" + strconv.Itoa(number)
	slave, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("open %s: %w", name, err)
	}
	if isRoot {
		// Programs open their terminal by name, too.
		if err := unix.Fchown(slave, int(u.UID), -1); err != nil {
			_ = unix.Close(slave)
			return nil, -1, fmt.Errorf("give %s to the user: %w", name, err)
		}
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), slave, nil
}

// resize changes the size of an open terminal.
func resize(master *os.File, cols, rows uint32) error {
	conn, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = setSize(int(fd), cols, rows) }); err != nil {
		return err
	}
	return failed
}

func setSize(fd int, cols, rows uint32) error {
	size := unix.Winsize{Col: uint16(min(cols, 0xffff)), Row: uint16(min(rows, 0xffff))}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size); err != nil {
		return fmt.Errorf("set the size of the terminal: %w", err)
	}
	return nil
}
