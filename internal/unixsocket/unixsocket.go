// Package unixsocket listens on sockets and connects to them by paths that may be longer than an address can be.
package unixsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Listen listens on a socket, in place of any that is there.
func Listen(path string) (*net.UnixListener, error) {
	dir, address, err := short(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: address})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // the name is good only while dir is open
	return l, nil
}

// Dial connects to a socket.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	dir, address, err := short(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var d net.Dialer
	return d.DialContext(ctx, "unix", address)
}

// short opens the directory of a path, by which the address of a socket there is short while it is open.
func short(path string) (dir int, address string, err error) {
	dir, err = unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return dir, fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)), nil
}
