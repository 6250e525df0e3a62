package main

import (
	"io"
	"net/http"
	"os"
	"syscall"
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
