package share

import (
	"strconv"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// key is what makes a file the same one. It holds while the file is open.
type key struct{ device, inode uint64 }

// node is a file that the guest's kernel knows.
type node struct {
	id      uint64
	fd      int // opened as a place only (O_PATH); -1 if it is lost
	key     key
	kind    uint32 // the type of the mode
	lookups uint64 // how often the kernel has been told of it
	uses    int    // by handles and by requests
	forever bool
	named   bool // in Server.recent

	locks locks
}

// lost tells whether an earlier server knew the file, and it is not there any more.
func (n *node) lost() bool { return n.fd < 0 }

// newNode takes over a descriptor.
func (s *Server) newNode(fd int) (*node, error) {
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return nil, err
	}
	return &node{fd: fd, key: key{st.Dev, st.Ino}, kind: st.Mode & unix.S_IFMT}, nil
}

func fstat(fd int, st *unix.Stat_t) error { return unix.Fstatat(fd, "", st, unix.AT_EMPTY_PATH) }

// path leads to a file by its descriptor, also to a link.
func (s *Server) path(n *node) string { return s.opts.Descriptors + strconv.Itoa(n.fd) }

// node finds a file, which stays until it is let go.
func (s *Server) node(id uint64) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil || n.lost() {
		return nil, unix.ESTALE
	}
	n.uses++
	return n, nil
}

// letGo ends a use.
func (s *Server) letGo(n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.uses--
	s.removeUnused(n)
}

// removeUnused closes a file that nobody knows any more. The caller holds mu.
func (s *Server) removeUnused(n *node) {
	if n.forever || n.lookups > 0 || n.uses > 0 {
		return
	}
	delete(s.nodes, n.id)
	if s.known[n.key] == n {
		delete(s.known, n.key)
	}
	n.locks.close()
	if !n.lost() {
		unix.Close(n.fd)
	}
}

func (s *Server) forget(id, lookups uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil || n.forever {
		return
	}
	n.lookups -= min(lookups, n.lookups)
	s.removeUnused(n)
}

func (s *Server) forgetAll(r *request) {
	count := r.Uint32()
	r.Skip(4)
	for range count {
		id, lookups := r.Uint64(), r.Uint64()
		if r.Err() != nil {
			return
		}
		s.forget(id, lookups)
	}
}

// find opens an entry of a directory, tells the guest's kernel of it, and has it stay until it is let go.
func (s *Server) find(dir *node, entry string) (*node, unix.Stat_t, error) {
	if dir.kind != unix.S_IFDIR {
		return nil, unix.Stat_t{}, unix.ENOTDIR
	}
	fd, err := unix.Openat(dir.fd, entry, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unix.Stat_t{}, err
	}
	n, st, err := s.learn(fd)
	if err == nil {
		s.remember(dir, n, entry)
	}
	return n, st, err
}

// learn is find of what a descriptor has opened as a place, which it takes over.
func (s *Server) learn(fd int) (*node, unix.Stat_t, error) {
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, st, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{st.Dev, st.Ino}
	n := s.known[k]
	if n != nil && n.kind == st.Mode&unix.S_IFMT {
		unix.Close(fd)
	} else {
		if len(s.nodes) >= mostKnown*s.opts.Known {
			unix.Close(fd)
			return nil, st, unix.ENFILE
		}
		n = &node{id: s.number(), fd: fd, key: k, kind: st.Mode & unix.S_IFMT}
		s.nodes[n.id], s.known[k] = n, n
	}
	if !n.forever {
		n.lookups++
	}
	n.uses++
	return n, st, nil
}

// number makes a new number. The caller holds mu.
func (s *Server) number() uint64 {
	s.next++
	return s.next
}

func (s *Server) lookup(r *request) (*fuse.Body, error) {
	name := r.Name()
	if err := r.Err(); err != nil {
		return nil, err
	}
	dir, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(dir)
	return s.entry(dir, name)
}

// entry answers with an entry of a directory.
func (s *Server) entry(dir *node, name string) (*fuse.Body, error) {
	n, st, err := s.find(dir, name)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	b := fuse.NewBody(128)
	b.Entry(n.id, &st)
	return b, nil
}
