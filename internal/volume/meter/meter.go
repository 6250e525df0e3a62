// Package meter counts what a volume takes, for all who write to it on a machine, in memory that they
// share. Writers take from what is left in large parts, so that writing costs next to nothing; when
// nothing is left, the content is measured, which also finds what was removed meanwhile.
package meter

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// part is the most that a writer takes ahead, in bytes.
	part = 16 << 20
	// share of what is left is taken ahead at most.
	share = 8
	// measurePause is the least time between two measurements of a full volume by one process.
	measurePause = time.Second
)

// count is what processes share in memory.
type count struct {
	used         atomic.Int64 // bytes; 0 before the first measurement
	measurements atomic.Int64 // so far
}

// Meter is one writer's view of what a volume takes.
type Meter struct {
	*count
	page  []byte // the memory of the count
	limit int64  // bytes
	dir   string

	mu       sync.Mutex
	measured time.Time    // by this writer
	since    atomic.Int64 // the measurement that all which this writer has taken was added to
}

// Open shares the file's counter, and needs the file no more then. limit is in bytes, and dir is the
// volume.
func Open(f *os.File, limit int64, dir string) (*Meter, error) {
	if err := f.Truncate(int64(unsafe.Sizeof(count{}))); err != nil {
		return nil, fmt.Errorf("make the counter of a volume: %w", err)
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("share the counter of a volume: %w", err)
	}
	m := &Meter{count: (*count)(unsafe.Pointer(&memory[0])), page: memory, limit: limit, dir: dir}
	m.since.Store(m.measurements.Load())
	return m, nil
}

// Give returns what was taken, and not written or removed again. If others have measured meanwhile, it
// may not be in the count any more, and stays with what is found to be free by the next measurement:
// to count too much mends itself, but to count too little would let a volume grow past its limit.
func (m *Meter) Give(bytes int64) {
	if m.measurements.Load() == m.since.Load() && m.used.Add(-bytes) <= 0 {
		m.used.Store(1) // it was measured just now
	}
}

// Close ends the use of the counter.
func (m *Meter) Close() error { return unix.Munmap(m.page) }

// Take takes at least want bytes of what is left, and returns how many. It is ENOSPC if there are
// not so many. A measurement does not see unseen bytes that the caller has taken: those of a file that
// has no name yet.
func (m *Meter) Take(want, unseen int64) (int64, error) {
	if taken := m.take(want); taken > 0 {
		return taken, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.measured) >= measurePause {
		// What others take meanwhile is lost to the count until the next time.
		m.since.Store(m.measurements.Add(1))
		m.used.Store(max(Measure(m.dir)+unseen, 1))
		m.measured = time.Now()
	}
	if taken := m.take(want); taken > 0 {
		return taken, nil
	}
	return 0, unix.ENOSPC
}

// take returns 0 if not enough is left, or if nobody has measured yet.
func (m *Meter) take(want int64) int64 {
	for {
		used := m.used.Load()
		left := m.limit - used
		if used == 0 || left < want {
			return 0
		}
		n := max(want, min(part, left/share))
		if m.used.CompareAndSwap(used, used+n) {
			return n
		}
	}
}

// maxLevels bounds how deep directories are looked into.
const maxLevels = 256

// Measure adds up what the files of a directory take on the disk, in bytes, and leaves out what it
// cannot read. It makes no system calls but those of gofers' filters.
func Measure(dir string) int64 {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	return measure(fd, maxLevels, map[[2]uint64]bool{})
}

// measure closes fd. seen has the files that have several names.
func measure(fd, levels int, seen map[[2]uint64]bool) (bytes int64) {
	defer unix.Close(fd)
	buffer := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buffer)
		if n <= 0 || err != nil {
			return bytes
		}
		_, _, names := unix.ParseDirent(buffer[:n], -1, nil)
		for _, name := range names {
			var stat unix.Stat_t
			if unix.Fstatat(fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			isDir := stat.Mode&unix.S_IFMT == unix.S_IFDIR
			if key := [2]uint64{stat.Dev, stat.Ino}; stat.Nlink > 1 && !isDir {
				if seen[key] {
					continue
				}
				seen[key] = true
			}
			bytes += stat.Blocks * 512
			if !isDir || levels == 0 {
				continue
			}
			below, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err == nil {
				bytes += measure(below, levels-1, seen)
			}
		}
	}
}
