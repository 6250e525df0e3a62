package pgalloc

import (
	"math"

	"golang.org/x/sys/unix"
)

// populateStep is how many bytes are mapped at once, ahead of the scan and of the writes
// that follow it.
const populateStep = 4 << 20

// dataScan finds the pages of a chunk that were never touched, in ascending order. Reading
// such a page would allocate it, only to find zeros and free it again.
type dataScan struct {
	fd    int
	chunk []byte // the mapping
	base  uint64 // its offset in the file
	// start and end delimit the last extent with data that was found.
	start, end uint64
	populated  uint64
}

// isHole reports whether the page at a file offset has never been written. For a page with
// data it also maps the pages that follow.
func (s *dataScan) isHole(off uint64) bool {
	if off >= s.end {
		s.find(off)
	}
	if off < s.start {
		return true
	}
	if off >= s.populated {
		s.populated = min(off+populateStep, s.end, s.base+uint64(len(s.chunk)))
		// Best effort: a page that is not mapped now is mapped when it is read.
		_ = unix.Madvise(s.chunk[off-s.base:s.populated-s.base], unix.MADV_POPULATE_READ)
	}
	return false
}

// find looks for the next data. If the file system cannot tell, everything counts as data.
func (s *dataScan) find(off uint64) {
	start, err := unix.Seek(s.fd, int64(off), unix.SEEK_DATA)
	if err == unix.ENXIO {
		s.start, s.end = math.MaxUint64, math.MaxUint64
		return
	}
	if err == nil {
		var end int64
		if end, err = unix.Seek(s.fd, start, unix.SEEK_HOLE); err == nil {
			s.start, s.end = uint64(start), uint64(end)
			return
		}
	}
	s.start, s.end = off, math.MaxUint64
}
