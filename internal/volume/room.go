package volume

import (
	"errors"
	"os"
	"path/filepath"

	"shoal/internal/volume/meter"
)

// CounterDir is the directory, below the run directory, of the files by which all who write to volumes on a
// machine count together.
func CounterDir(runDir string) string { return filepath.Join(runDir, "volumes") }

// Room is what one writer may write to a volume. Close gives back what it has not.
type Room struct {
	meter   *meter.Meter
	taken   int64 // bytes, not written yet
	written int64 // bytes, by this writer
}

// OpenRoom opens the volume's counter, which it makes if need be. limit bounds all that is in the volume, in bytes.
func OpenRoom(counter string, limit int64, dir string) (*Room, error) {
	if err := os.MkdirAll(filepath.Dir(counter), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(counter, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	m, err := meter.Open(f, limit, dir)
	return &Room{meter: m}, errors.Join(err, f.Close())
}

// take makes room for so many bytes.
func (r *Room) take(grows int64) error {
	if r == nil {
		return nil
	}
	if r.taken < grows {
		n, err := r.meter.Take(grows-r.taken, r.taken+r.written)
		if err != nil {
			return err
		}
		r.taken += n
	}
	r.taken -= grows
	r.written += grows
	return nil
}

// soFar is how many bytes were written.
func (r *Room) soFar() int64 {
	if r == nil {
		return 0
	}
	return r.written
}

// undo makes the room free again of what was written since written was so many bytes, and is no more.
func (r *Room) undo(written int64) {
	if r != nil {
		r.taken += r.written - written
		r.written = written
	}
}

// close ends the use of the counter.
func (r *Room) close() error {
	if r == nil {
		return nil
	}
	r.meter.Give(r.taken)
	return r.meter.Close()
}
