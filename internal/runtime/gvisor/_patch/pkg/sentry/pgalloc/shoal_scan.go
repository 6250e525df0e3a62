package pgalloc

import (
	"math"

	"golang.org/x/sys/unix"
)

// populateStep is how much memory is mapped at once, in bytes, ahead of the scan and
// of the writes that follow it.
const populateStep = 4 << 20

// dataScan tells which pages of a chunk were never touched, in rising order. To read
// such a page would allocate it, only to find zeros and to free it again.
type dataScan struct {
	fd    int
	chunk []byte // the mapping
	base  uint64 // its offset in the file
	// start and end are of the last extent with data that was found.
	start, end uint64
	populated  uint64
}

// isHole tells whether the page at a file offset has never been written. A page with
// data has its neighbours mapped as well.
func (s *dataScan) isHole(off uint64) bool {
	if off >= s.end {
		s.find(off)
	}
	if off < s.start {
		return true
	}
	if off >= s.populated {
		s.populated = min(off+populateStep, s.end, s.base+uint64(len(s.chunk)))
		// Best effort: what is not mapped yet is mapped when it is read.
		_ = unix.Madvise(s.chunk[off-s.base:s.populated-s.base], unix.MADV_POPULATE_READ)
	}
	return false
}

// find looks for the next data. A file that cannot tell is all data.
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
