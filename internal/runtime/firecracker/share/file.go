package share

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// handle is an open file or directory of the guest.
type handle struct {
	id    uint64
	node  *node
	fd    int // -1 if the file is lost
	flags int // with which it was opened: how it may be used
	uses  int // by requests, and one until it is released

	reading sync.Mutex // held while a directory is listed

	// What follows is guarded by the node's locks. flock is the lock on all of the file; flockLost, that somebody
	// else has had it meanwhile.
	flock     uint32
	flockLost bool
}

// newHandle opens a file. Devices and pipes are the guest's own kernel's to open.
func (s *Server) newHandle(n *node, flags int) (*handle, error) {
	if n.kind != unix.S_IFREG && n.kind != unix.S_IFDIR {
		return nil, unix.EINVAL
	}
	fd, err := unix.Open(s.path(n), flags&(unix.O_ACCMODE|unix.O_TRUNC)|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return s.addHandle(n, fd, flags), nil
}

// addHandle takes over a descriptor.
func (s *Server) addHandle(n *node, fd, flags int) *handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.uses++
	h := &handle{id: s.number(), node: n, fd: fd, flags: flags & unix.O_ACCMODE, uses: 1, flock: unix.F_UNLCK}
	s.handles[h.id] = h
	return h
}

// handle finds an open file, which stays open until it is put back.
func (s *Server) handle(id uint64) (*handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handles[id]
	if h == nil || h.fd < 0 {
		return nil, unix.EBADF
	}
	h.uses++
	return h, nil
}

func (s *Server) put(h *handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.uses--
	if h.uses > 0 {
		return
	}
	if h.fd >= 0 {
		unix.Close(h.fd) // with its lock
	}
	h.node.uses--
	s.removeUnused(h.node)
}

// soundHandle is handle of a file that has all of its locks.
func (s *Server) soundHandle(id uint64) (*handle, error) {
	h, err := s.handle(id)
	if err != nil {
		return nil, err
	}
	if err := s.sound(h.node); err != nil {
		s.put(h)
		return nil, err
	}
	return h, nil
}

func (s *Server) open(r *request) (*fuse.Body, error) {
	flags := r.Uint32()
	if err := r.Err(); err != nil {
		return nil, err
	}
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	if n.kind != unix.S_IFREG {
		return nil, unix.EINVAL
	}
	h, err := s.newHandle(n, int(flags))
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(16)
	b.Opened(h.id, true)
	return b, nil
}

func (s *Server) create(r *request) (*fuse.Body, error) {
	flags, mode := int(r.Uint32()), r.Uint32()
	r.Skip(4 + 4)
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) {
		const always = unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
		how := flags&(unix.O_ACCMODE|unix.O_TRUNC) | always
		fd, err := unix.Openat(dir.fd, name, how|unix.O_CREAT|unix.O_EXCL, mode&0o7777)
		isNew := err == nil
		if errors.Is(err, unix.EEXIST) && flags&unix.O_EXCL == 0 {
			fd, err = unix.Openat(dir.fd, name, how, 0)
		}
		if err != nil {
			return nil, err
		}
		b, err := s.created(r, dir, fd, flags, mode, isNew)
		if err != nil {
			unix.Close(fd)
		}
		return b, err
	})
}

// created answers with a file that is open.
func (s *Server) created(r *request, dir *node, fd, flags int, mode uint32, isNew bool) (*fuse.Body, error) {
	place, err := unix.Open(s.path(&node{fd: fd}), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n, st, err := s.learn(place)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	if n.kind != unix.S_IFREG {
		return nil, unix.EEXIST
	}
	if isNew {
		if st, err = s.own(r, dir, n, mode); err != nil {
			return nil, err
		}
	}
	h := s.addHandle(n, fd, flags)
	b := fuse.NewBody(128 + 16)
	b.Entry(n.id, &st)
	b.Opened(h.id, true)
	return b, nil
}

func (s *Server) release(r *request) (*fuse.Body, error) {
	id := r.Uint64()
	if err := r.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	h := s.handles[id]
	delete(s.handles, id)
	s.mu.Unlock()
	if h == nil {
		return nil, nil
	}
	h.node.locks.unlockWhole(h)
	s.put(h)
	return nil, nil
}

func (s *Server) fsync(r *request) (*fuse.Body, error) {
	id, dataOnly := r.Uint64(), r.Uint32()&1 != 0
	if err := r.Err(); err != nil {
		return nil, err
	}
	h, err := s.soundHandle(id)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	if dataOnly {
		return nil, unix.Fdatasync(h.fd)
	}
	return nil, unix.Fsync(h.fd)
}

// flush comes with each close of an open file, which lets go of its process's locks.
func (s *Server) flush(r *request) (*fuse.Body, error) {
	id := r.Uint64()
	r.Skip(8)
	owner := r.Uint64()
	if err := r.Err(); err != nil {
		return nil, err
	}
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	n.locks.unlockOwner(owner)
	h, err := s.handle(id)
	if err != nil {
		return nil, err
	}
	s.put(h)
	return nil, nil
}
