package share

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// State is what a server knows of a guest's files, for another to go on with. It is written as JSON.
type State struct {
	Nodes   []NodeState
	Handles []HandleState
	Locks   []LockState
	Done    []DoneState
}

// NodeState is a file that the guest's kernel knows. Path is where it is, from the directory on; empty if it is
// nowhere.
type NodeState struct {
	ID      uint64
	Path    []byte
	Kind    uint32
	Lookups uint64
}

// HandleState is an open file.
type HandleState struct {
	ID, Node uint64
	Flags    int
	Flock    uint32
	Lost     bool // somebody else has had the lock
}

// LockState is a lock on a part of a file.
type LockState struct {
	Node, Owner uint64
	span
	Lost bool
}

// DoneState is a reply that may have to be sent again.
type DoneState struct {
	Unique uint64
	Reply  []byte
}

// state is what there is now. The caller holds mu.
func (s *Server) state() *State {
	st := &State{}
	for _, n := range s.nodes {
		if n.id != 1 {
			st.Nodes = append(st.Nodes, NodeState{n.id, []byte(s.whereIs(n)), n.kind, n.lookups})
		}
		n.locks.mu.Lock()
		for id, o := range n.locks.owners {
			for _, p := range o.has {
				st.Locks = append(st.Locks, LockState{n.id, id, p, false})
			}
			for _, p := range o.lost {
				st.Locks = append(st.Locks, LockState{n.id, id, p, true})
			}
		}
		n.locks.mu.Unlock()
	}
	for _, h := range s.handles {
		h.node.locks.mu.Lock()
		st.Handles = append(st.Handles, HandleState{h.id, h.node.id, h.flags, h.flock, h.flockLost})
		h.node.locks.mu.Unlock()
	}
	for _, unique := range s.order {
		st.Done = append(st.Done, DoneState{unique, s.done[unique]})
	}
	return st
}

// maxPath bounds where files are looked for, in bytes, as Linux does.
const maxPath = 4096

// whereIs is a file's path from the directory on, by its present name; empty if it has none.
func (s *Server) whereIs(n *node) string {
	if n.lost() {
		return ""
	}
	buffer := make([]byte, maxPath)
	root := &node{fd: s.opts.Root}
	count, err := unix.Readlink(s.path(n), buffer)
	if err != nil || count == len(buffer) {
		return ""
	}
	at := string(buffer[:count])
	if count, err = unix.Readlink(s.path(root), buffer); err != nil || count == len(buffer) {
		return ""
	}
	above := strings.TrimSuffix(string(buffer[:count]), "/") + "/"
	name, ok := strings.CutPrefix(at, above)
	if !ok {
		return ""
	}
	// A removed file has a path that leads nowhere, or to another.
	fd, err := s.walk(name)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if fstat(fd, &st) != nil || (key{st.Dev, st.Ino}) != n.key {
		return ""
	}
	return name
}

// walk opens what is at a path, as a place. No link is followed.
func (s *Server) walk(name string) (int, error) {
	if name == "" || path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "..") && (name == ".." || name[2] == '/') {
		return -1, unix.EINVAL
	}
	return unix.Openat2(s.opts.Root, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS})
}

// takeUp goes on with what another server has saved. What is not there any more is an error to who uses it.
func (s *Server) takeUp(st *State) {
	for _, saved := range st.Nodes {
		if saved.ID == 0 || s.nodes[saved.ID] != nil {
			continue
		}
		n := s.reopen(saved)
		n.id, n.lookups = saved.ID, saved.Lookups
		s.nodes[n.id] = n
		if !n.lost() && s.known[n.key] == nil {
			s.known[n.key] = n
		}
		s.next = max(s.next, n.id)
	}
	for _, saved := range st.Handles {
		if n := s.nodes[saved.Node]; n != nil && s.handles[saved.ID] == nil {
			s.takeUpHandle(n, saved)
		}
	}
	for _, saved := range st.Locks {
		if n := s.nodes[saved.Node]; n != nil && saved.Type < unix.F_UNLCK {
			s.takeUpLock(n, saved)
		}
	}
	for _, n := range s.nodes {
		s.removeUnused(n)
	}
	for _, saved := range st.Done {
		s.keep(saved.Unique, saved.Reply)
	}
}

// reopen finds a file again, if one of its type is where it was.
func (s *Server) reopen(saved NodeState) *node {
	lost := &node{fd: -1, kind: saved.Kind}
	fd, err := s.walk(string(saved.Path))
	if err != nil {
		return lost
	}
	n, err := s.newNode(fd)
	if err != nil || n.kind != saved.Kind {
		unix.Close(fd)
		return lost
	}
	return n
}

func (s *Server) takeUpHandle(n *node, saved HandleState) {
	h := &handle{id: saved.ID, node: n, fd: -1, flags: saved.Flags & unix.O_ACCMODE, uses: 1, flock: unix.F_UNLCK}
	n.uses++
	s.handles[h.id] = h
	s.next = max(s.next, h.id)
	if n.lost() || n.kind != unix.S_IFREG && n.kind != unix.S_IFDIR {
		return
	}
	fd, err := unix.Open(s.path(n), h.flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return // it stays lost
	}
	h.fd = fd
	if saved.Flock >= unix.F_UNLCK && !saved.Lost {
		return
	}
	l := &n.locks
	if saved.Lost || l.lockWhole(h, saved.Flock) != nil {
		h.flockLost = true
		l.lost++
	}
}

func (s *Server) takeUpLock(n *node, saved LockState) {
	if n.lost() || saved.Start > saved.End || saved.End > lastByte {
		return
	}
	l := &n.locks
	if !saved.Lost && l.lockPart(s, n, saved.Owner, saved.span) == nil {
		return
	}
	o := l.owners[saved.Owner]
	if o == nil {
		var err error
		if o, err = s.newOwner(n); err != nil {
			return
		}
		if l.owners == nil {
			l.owners = map[uint64]*owner{}
		}
		l.owners[saved.Owner] = o
	}
	o.lost = append(o.lost, saved.span)
}
