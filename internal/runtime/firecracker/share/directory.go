package share

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// in does something in the directory that a request is about, with an entry of it whose name is next in the
// request.
func (s *Server) in(r *request, do func(dir *node, name string) (*fuse.Body, error)) (*fuse.Body, error) {
	name := r.Name()
	if err := r.Err(); err != nil {
		return nil, err
	}
	dir, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(dir)
	return do(dir, name)
}

// made gives a file that was just made its owner and answers with it. The group of a directory whose new files
// get that stays.
func (s *Server) made(r *request, dir *node, name string, mode uint32) (*fuse.Body, error) {
	n, _, err := s.find(dir, name)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	st, err := s.own(r, dir, n, mode)
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(128)
	b.Entry(n.id, &st)
	return b, nil
}

func (s *Server) own(r *request, dir, n *node, mode uint32) (st unix.Stat_t, err error) {
	var above unix.Stat_t
	err = fstat(dir.fd, &above)
	gid := int(int32(r.GID))
	if above.Mode&unix.S_ISGID != 0 {
		gid = -1
	}
	if err == nil {
		err = unix.Fchownat(n.fd, "", int(int32(r.UID)), gid, unix.AT_EMPTY_PATH)
	}
	if special := mode & (unix.S_ISUID | unix.S_ISGID); err == nil && special != 0 && n.kind == unix.S_IFREG {
		err = unix.Fchmodat(unix.AT_FDCWD, s.path(n), mode&0o7777, 0) // which a new owner has cleared
	}
	if err == nil {
		err = fstat(n.fd, &st)
	}
	return st, err
}

func (s *Server) symlink(r *request) (*fuse.Body, error) {
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) {
		target := r.Text()
		if err := r.Err(); err != nil {
			return nil, err
		}
		if err := unix.Symlinkat(target, dir.fd, name); err != nil {
			return nil, err
		}
		return s.made(r, dir, name, 0)
	})
}

func (s *Server) mkNod(r *request) (*fuse.Body, error) {
	mode := r.Uint32()
	r.Skip(4 + 4 + 4)
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) {
		switch mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
		default: // no devices
			return nil, unix.EPERM
		}
		if err := unix.Mknodat(dir.fd, name, mode, 0); err != nil {
			return nil, err
		}
		return s.made(r, dir, name, mode)
	})
}

// directoryBytes is what a new directory takes.
const directoryBytes = 4096

func (s *Server) mkDir(r *request) (*fuse.Body, error) {
	mode := r.Uint32()
	r.Skip(4)
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) {
		if err := s.room.take(directoryBytes); err != nil {
			return nil, err
		}
		if err := unix.Mkdirat(dir.fd, name, mode&0o7777); err != nil {
			s.room.give(directoryBytes)
			return nil, err
		}
		return s.made(r, dir, name, mode)
	})
}

func (s *Server) unlink(r *request) (*fuse.Body, error) {
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) { return nil, unix.Unlinkat(dir.fd, name, 0) })
}

func (s *Server) rmDir(r *request) (*fuse.Body, error) {
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) {
		return nil, unix.Unlinkat(dir.fd, name, unix.AT_REMOVEDIR)
	})
}

func (s *Server) rename(r *request) (*fuse.Body, error) {
	to := r.Uint64()
	var flags uint32
	if r.Opcode == fuse.Rename2 {
		flags = r.Uint32()
		r.Skip(4)
	}
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return nil, unix.EINVAL
	}
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) {
		newName := r.Name()
		if err := r.Err(); err != nil {
			return nil, err
		}
		newDir, err := s.node(to)
		if err != nil {
			return nil, err
		}
		defer s.letGo(newDir)
		return nil, unix.Renameat2(dir.fd, name, newDir.fd, newName, uint(flags))
	})
}

func (s *Server) link(r *request) (*fuse.Body, error) {
	old := r.Uint64()
	return s.in(r, func(dir *node, name string) (*fuse.Body, error) {
		n, err := s.node(old)
		if err != nil {
			return nil, err
		}
		defer s.letGo(n)
		// A descriptor by itself could be linked only by who may read everything (CAP_DAC_READ_SEARCH): we may.
		if err := unix.Linkat(n.fd, "", dir.fd, name, unix.AT_EMPTY_PATH); err != nil {
			return nil, err
		}
		return s.entry(dir, name)
	})
}

// maxLink is the longest target of a link, in bytes.
const maxLink = 4096

func (s *Server) readLink(r *request) (*fuse.Body, error) {
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	target := make([]byte, maxLink)
	count, err := unix.Readlinkat(n.fd, "", target)
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(count)
	b.Bytes(target[:count])
	return b, nil
}

func (s *Server) openDir(r *request) (*fuse.Body, error) {
	n, err := s.node(r.Node)
	if err != nil {
		return nil, err
	}
	defer s.letGo(n)
	h, err := s.newHandle(n, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(16)
	b.Opened(h.id, false)
	return b, nil
}

// readDir lists entries from an offset on, as the host's file system gives them.
func (s *Server) readDir(r *request) (*fuse.Body, error) {
	id, offset, size := r.Uint64(), r.Uint64(), r.Uint32()
	if err := r.Err(); err != nil {
		return nil, err
	}
	h, err := s.handle(id)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	if h.node.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	size = min(size, fuse.MaxWrite)
	h.reading.Lock()
	defer h.reading.Unlock()
	if _, err := unix.Seek(h.fd, int64(offset), unix.SEEK_SET); err != nil {
		return nil, err
	}
	b := fuse.NewBody(int(size))
	for {
		entries := make([]byte, 32<<10)
		n, err := unix.Getdents(h.fd, entries)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return b, nil
		}
		full, err := addEntries(b, entries[:n], size)
		if err != nil || full {
			return b, err
		}
	}
}

// direntHeader is where the name begins in an entry of the host's kernel.
const direntHeader = 19

var errEntries = errors.New("the host's list of a directory cannot be read")

// addEntries adds entries as the host's kernel lists them, and tells whether the body is full.
func addEntries(b *fuse.Body, list []byte, most uint32) (full bool, err error) {
	ne := binary.NativeEndian
	for len(list) > 0 {
		if len(list) < direntHeader {
			return false, errEntries
		}
		length := int(ne.Uint16(list[16:]))
		if length < direntHeader || length > len(list) {
			return false, errEntries
		}
		name, _, _ := bytes.Cut(list[direntHeader:length], []byte{0})
		if !b.Dirent(ne.Uint64(list), ne.Uint64(list[8:]), uint32(list[18]), string(name), most) {
			return true, nil
		}
		list = list[length:]
	}
	return false, nil
}
