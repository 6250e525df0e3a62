package share

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
	"shoal/internal/volume/meter"
)

func (s *Server) read(r *request) (*fuse.Body, error) {
	id, offset, size := r.Uint64(), r.Uint64(), r.Uint32()
	if err := r.Err(); err != nil {
		return nil, err
	}
	h, err := s.soundHandle(id)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	content := make([]byte, min(size, fuse.MaxWrite))
	n, err := unix.Pread(h.fd, content, int64(offset))
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(n)
	b.Bytes(content[:n])
	return b, nil
}

// clearsPrivileges is a flag of a message that writes for somebody who may not keep the file's privileges.
const clearsPrivileges = 1 << 2

func (s *Server) writeFile(r *request) (*fuse.Body, error) {
	id, offset, size, how := r.Uint64(), r.Uint64(), r.Uint32(), r.Uint32()
	r.Skip(8)
	flags := r.Uint32()
	r.Skip(4)
	content := r.Bytes(size)
	if err := r.Err(); err != nil {
		return nil, err
	}
	h, err := s.soundHandle(id)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	if how&clearsPrivileges != 0 {
		if err := s.clearPrivileges(h.node); err != nil {
			return nil, err
		}
	}
	write := 0
	if flags&unix.O_APPEND != 0 { // wherever the end is by now
		write |= unix.RWF_APPEND
	}
	if flags&unix.O_DSYNC != 0 {
		write |= unix.RWF_DSYNC
	}
	n, err := s.grow(h, int64(offset), int64(len(content)), flags&unix.O_APPEND == 0, func(most int64) (int, error) {
		return unix.Pwritev2(h.fd, [][]byte{content[:most]}, int64(offset), write)
	})
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(8)
	b.Uint64(uint64(n))
	return b, nil
}

// clearPrivileges has a program not be run as somebody else any more, since it is changed.
func (s *Server) clearPrivileges(n *node) error {
	var st unix.Stat_t
	if err := fstat(n.fd, &st); err != nil {
		return err
	}
	mode := st.Mode & 0o7777 &^ unix.S_ISUID
	if mode&0o010 != 0 {
		mode &^= unix.S_ISGID
	}
	if mode == st.Mode&0o7777 {
		return nil
	}
	return unix.Fchmodat(unix.AT_FDCWD, s.path(n), mode, 0)
}

func (s *Server) fallocate(r *request) (*fuse.Body, error) {
	id, offset, length, mode := r.Uint64(), int64(r.Uint64()), int64(r.Uint64()), r.Uint32()
	if err := r.Err(); err != nil {
		return nil, err
	}
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	if mode&^known != 0 {
		return nil, unix.EOPNOTSUPP
	}
	if offset < 0 || length <= 0 || offset+length < 0 {
		return nil, unix.EINVAL
	}
	h, err := s.soundHandle(id)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	do := func(int64) (int, error) { return 0, unix.Fallocate(h.fd, mode, offset, length) }
	if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
		_, err = do(0)
		return nil, err
	}
	if s.room.meter != nil {
		if err := s.room.take(pages(offset, length)); err != nil {
			return nil, err
		}
		s.room.give(pages(offset, length))
	}
	_, err = s.grow(h, offset, length, false, do)
	return nil, err
}

// maxCopy bounds one copy, in bytes: who asked for more asks again.
const maxCopy = 32 << 20

func (s *Server) copyFileRange(r *request) (*fuse.Body, error) {
	from, offset := r.Uint64(), int64(r.Uint64())
	r.Skip(8)
	to, offsetTo, length := r.Uint64(), int64(r.Uint64()), r.Uint64()
	r.Skip(8)
	if err := r.Err(); err != nil {
		return nil, err
	}
	in, err := s.soundHandle(from)
	if err != nil {
		return nil, err
	}
	defer s.put(in)
	out, err := s.soundHandle(to)
	if err != nil {
		return nil, err
	}
	defer s.put(out)
	if in.node.kind != unix.S_IFREG || out.node.kind != unix.S_IFREG || offsetTo < 0 {
		return nil, unix.EINVAL
	}
	n, err := s.grow(out, offsetTo, int64(min(length, maxCopy)), true, func(most int64) (int, error) {
		return unix.CopyFileRange(in.fd, &offset, out.fd, &offsetTo, int(most), 0)
	})
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(8)
	b.Uint64(uint64(n))
	return b, nil
}

func (s *Server) lseek(r *request) (*fuse.Body, error) {
	id, offset, whence := r.Uint64(), int64(r.Uint64()), int(r.Uint32())
	if err := r.Err(); err != nil {
		return nil, err
	}
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return nil, unix.EINVAL
	}
	h, err := s.soundHandle(id)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	if h.node.kind != unix.S_IFREG {
		return nil, unix.EINVAL
	}
	at, err := unix.Seek(h.fd, offset, whence)
	if err != nil {
		return nil, err
	}
	b := fuse.NewBody(8)
	b.Uint64(uint64(at))
	return b, nil
}

// room is what may be written to a volume.
type room struct {
	meter *meter.Meter // nil without a bound
	mu    sync.Mutex   // held while a volume is measured
	left  int64        // of what the meter has given
}

func (r *room) take(bytes int64) error {
	if r.meter == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left < bytes {
		more, err := r.meter.Take(bytes-r.left, 0)
		if err != nil {
			return err
		}
		r.left += more
	}
	r.left -= bytes
	return nil
}

// give gives back what was taken and not used.
func (r *room) give(bytes int64) {
	if r.meter == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += bytes
}

const pageSize = 4096

// pages is what a part of a file takes at most, in bytes.
func pages(offset, length int64) int64 {
	return (offset+length+pageSize-1)&^(pageSize-1) - offset&^(pageSize-1)
}

// grow does what makes a file take more of the volume, within what is left of that. do is told how many bytes it
// may write, which are fewer if there is not room for all. What is written over costs nothing; placed tells
// that offset is where it is written.
func (s *Server) grow(h *handle, offset, length int64, placed bool, do func(most int64) (int, error)) (int, error) {
	if offset < 0 || offset+length < offset {
		return 0, unix.EINVAL
	}
	if s.room.meter == nil || length == 0 {
		return do(length)
	}
	taken := pages(offset, length) + pageSize
	err := s.room.take(taken)
	for err != nil && length > pageSize && !(placed && written(h.fd, offset, length)) {
		length = length / 2 &^ (pageSize - 1)
		if length == 0 {
			break
		}
		taken = pages(offset, length) + pageSize
		err = s.room.take(taken)
	}
	if err != nil {
		if !placed || !written(h.fd, offset, length) {
			return 0, err
		}
		return do(length)
	}
	var before, after unix.Stat_t
	if err := unix.Fstat(h.fd, &before); err != nil {
		return 0, err
	}
	n, err := do(length)
	if statErr := unix.Fstat(h.fd, &after); statErr != nil {
		return n, errors.Join(err, statErr)
	}
	s.room.give(taken - min(max(after.Blocks-before.Blocks, 0)*512, taken))
	return n, err
}

// written tells whether all of a part of a file is on the disk already.
func written(fd int, offset, length int64) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || offset+length > st.Size {
		return false
	}
	hole, err := unix.Seek(fd, offset, unix.SEEK_HOLE)
	return err == nil && hole >= offset+length
}
