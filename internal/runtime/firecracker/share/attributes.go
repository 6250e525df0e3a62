package share

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// What a message that sets attributes sets.
const (
	setMode     = 1 << 0
	setUID      = 1 << 1
	setGID      = 1 << 2
	setSize     = 1 << 3
	setAtime    = 1 << 4
	setMtime    = 1 << 5
	setByHandle = 1 << 6
	setAtimeNow = 1 << 7
	setMtimeNow = 1 << 8
)

func (s *Server) getAttr(r *request) (*fuse.Body, error) {
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	return attributes(n)
}

func attributes(n *node) (*fuse.Body, error) {
	var st unix.Stat_t
	if err := fstat(n.fd, &st); err != nil {
		return nil, err
	}
	b := fuse.NewBody(104)
	b.AttrReply(&st)
	return b, nil
}

// changes are new attributes.
type changes struct {
	what     uint32
	handle   uint64
	size     uint64
	times    [2]unix.Timespec // of the last access, of the last change
	mode     uint32
	uid, gid int
}

func readChanges(r *request) changes {
	var c changes
	c.what = r.Uint32()
	r.Skip(4)
	c.handle, c.size = r.Uint64(), r.Uint64()
	r.Skip(8)
	access, change := int64(r.Uint64()), int64(r.Uint64())
	r.Skip(8)
	accessNano, changeNano := r.Uint32(), r.Uint32()
	r.Skip(4)
	c.mode = r.Uint32()
	r.Skip(4)
	c.uid, c.gid = int(int32(r.Uint32())), int(int32(r.Uint32()))
	c.times = [2]unix.Timespec{
		timeOf(c.what, setAtime, setAtimeNow, access, accessNano), timeOf(c.what, setMtime, setMtimeNow, change, changeNano)}
	return c
}

func timeOf(what, set, now uint32, seconds int64, nano uint32) unix.Timespec {
	switch {
	case what&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case what&set != 0 && nano < 1e9:
		return unix.Timespec{Sec: seconds, Nsec: int64(nano)}
	}
	return unix.Timespec{Nsec: unix.UTIME_OMIT}
}

func (s *Server) setAttr(r *request) (*fuse.Body, error) {
	c := readChanges(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	if c.what&setSize != 0 {
		if err := s.truncate(n, c); err != nil {
			return nil, err
		}
	}
	if c.what&(setUID|setGID) != 0 {
		uid, gid := -1, -1
		if c.what&setUID != 0 {
			uid = c.uid
		}
		if c.what&setGID != 0 {
			gid = c.gid
		}
		if err := unix.Fchownat(n.fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return nil, err
		}
	}
	if c.what&setMode != 0 {
		if n.kind == unix.S_IFLNK {
			return nil, unix.EOPNOTSUPP
		}
		if err := unix.Fchmodat(unix.AT_FDCWD, s.path(n), c.mode&0o7777, 0); err != nil {
			return nil, err
		}
	}
	if c.what&(setAtime|setMtime|setAtimeNow|setMtimeNow) != 0 {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, s.path(n), c.times[:], 0); err != nil {
			return nil, err
		}
	}
	return attributes(n)
}

// truncate sets the size of a file, by an open one or by itself.
func (s *Server) truncate(n *node, c changes) error {
	if n.kind != unix.S_IFREG || c.size > 1<<63-1 {
		return unix.EINVAL
	}
	if c.what&setByHandle != 0 {
		h, err := s.handle(c.handle)
		if err != nil {
			return err
		}
		defer s.put(h)
		if h.node != n {
			return unix.EBADF
		}
		if err := s.sound(n); err != nil {
			return err
		}
		return unix.Ftruncate(h.fd, int64(c.size))
	}
	if err := s.sound(n); err != nil {
		return err
	}
	fd, err := unix.Open(s.path(n), unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Ftruncate(fd, int64(c.size)), unix.Close(fd))
}

// maxAttribute bounds an extended attribute and a list of their names, in bytes, as Linux does.
const maxAttribute = 65536

// served tells whether guests have an extended attribute of files: what the host's own system keeps with them
// is its own.
func served(name string) bool { return strings.HasPrefix(name, "user.") }

func (s *Server) setXAttr(r *request) (*fuse.Body, error) {
	size, flags := r.Uint32(), r.Uint32()
	name := r.Text()
	value := r.Bytes(size)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if !served(name) {
		return nil, unix.EOPNOTSUPP
	}
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	return nil, unix.Setxattr(s.path(n), name, value, int(flags)&(unix.XATTR_CREATE|unix.XATTR_REPLACE))
}

func (s *Server) getXAttr(r *request) (*fuse.Body, error) {
	size := r.Uint32()
	r.Skip(4)
	name := r.Text()
	if err := r.Err(); err != nil {
		return nil, err
	}
	if !served(name) {
		return nil, unix.ENODATA
	}
	return s.attribute(r.Node, size, func(path string, to []byte) (int, error) { return unix.Getxattr(path, name, to) })
}

func (s *Server) listXAttr(r *request) (*fuse.Body, error) {
	size := r.Uint32()
	if err := r.Err(); err != nil {
		return nil, err
	}
	return s.attribute(r.Node, size, func(path string, to []byte) (int, error) {
		all := make([]byte, maxAttribute)
		count, err := unix.Listxattr(path, all)
		if err != nil {
			return 0, err
		}
		var names []byte
		for name := range strings.SplitAfterSeq(string(all[:count]), "\x00") {
			if served(name) {
				names = append(names, name...)
			}
		}
		if len(to) > 0 && len(to) < len(names) {
			return 0, unix.ERANGE
		}
		copy(to, names)
		return len(names), nil
	})
}

// attribute answers with what get gives, or with its size if the guest has no room for it.
func (s *Server) attribute(id uint64, size uint32, get func(path string, to []byte) (int, error)) (*fuse.Body, error) {
	n, err := s.node(id)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	value := make([]byte, min(size, maxAttribute))
	count, err := get(s.path(n), value)
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(count + 8)
	if size == 0 {
		b.Uint64(uint64(count))
	} else {
		b.Bytes(value[:count])
	}
	return b, nil
}

func (s *Server) removeXAttr(r *request) (*fuse.Body, error) {
	name := r.Text()
	if err := r.Err(); err != nil {
		return nil, err
	}
	if !served(name) {
		return nil, unix.EOPNOTSUPP
	}
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	return nil, unix.Removexattr(s.path(n), name)
}

func (s *Server) statFS(*request) (*fuse.Body, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.opts.Root, &st); err != nil {
		return nil, err
	}
	b := fuse.NewBody(80)
	for _, n := range []uint64{st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree} {
		b.Uint64(n)
	}
	b.Uint32(uint32(st.Bsize))
	b.Uint32(uint32(st.Namelen))
	b.Uint32(uint32(st.Frsize))
	b.Bytes(make([]byte, 7*4))
	return b, nil
}
