package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kept are files that stay open, by their paths.
var kept = map[string]*os.File{}

// handleKeep opens a file and keeps it open.
func handleKeep(w http.ResponseWriter, r *http.Request) {
	path, flags := r.URL.Query().Get("path"), os.O_RDONLY
	if r.URL.Query().Get("write") != "" {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(path, flags, 0)
	kept[path] = f
	reply(w, err, "ok")
}

// handleKept reads a file that was kept open.
func handleKept(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(io.NewSectionReader(kept[r.URL.Query().Get("path")], 0, 1<<20))
	reply(w, err, string(data))
}

// handleLock changes the lock of a file that was kept open, without waiting: of all of it, as flock(2), or
// of some bytes of it, as fcntl(2).
func handleLock(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	fd := kept[q.Get("path")].Fd()
	var err error
	switch how := q.Get("how"); how {
	case "flock":
		err = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB)
	case "funlock":
		err = syscall.Flock(int(fd), syscall.LOCK_UN)
	default:
		lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 2, Len: 3}
		if how == "unlock" {
			lock.Type = syscall.F_UNLCK
		}
		err = syscall.FcntlFlock(fd, syscall.F_SETLK, &lock)
	}
	reply(w, err, "ok")
}

// handleCopy copies a file as cp does, brings the copy to the disk, and tells how many milliseconds that took.
func handleCopy(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	err := copyFile(r.URL.Query().Get("from"), r.URL.Query().Get("to"))
	reply(w, err, fmt.Sprint(time.Since(begun).Milliseconds()))
}

// copySize is how much cp copies at a time, in bytes.
const copySize = 256 << 10

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Sync(), out.Close()) }()
	for {
		n, err := unix.CopyFileRange(int(in.Fd()), nil, int(out.Fd()), nil, 1<<30, 0)
		if err != nil {
			break // between file systems, it is read and written
		}
		if n == 0 {
			return nil
		}
	}
	// Without the ways by which these files would copy themselves.
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, copySize))
	return err
}
