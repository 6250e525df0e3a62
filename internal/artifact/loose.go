package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

// An artifact may get its name before it is on the disk. Such a loose artifact survives the
// death of any process, but not of the machine, and is sealed soon after. If the machine
// stops before that, the artifact counts as damaged.

// CommitLoose is Commit without waiting for the disk and without checksums; Seal does both
// later.
func (d *Draft) CommitLoose(meta any) (*Artifact, error) {
	d.stopFlushing()
	a, err := d.commitLoose(meta)
	if err != nil {
		return nil, fmt.Errorf("store artifact %s: %w", d.id, err)
	}
	return a, nil
}

func (d *Draft) commitLoose(meta any) (*Artifact, error) {
	raw, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	m := Manifest{ID: d.id, CreatedAt: time.Now().UTC(), Meta: raw}
	if m.Boot, err = bootID(); err != nil {
		return nil, err
	}
	if m.Files, err = d.files(); err != nil {
		return nil, err
	}
	for i, f := range m.Files {
		if m.Files[i].Stored, err = stored(filepath.Join(d.dir, f.Name), f.Size); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(d.dir, manifestFile), data, 0o600); err != nil {
		return nil, err
	}
	if err := d.rename(atomicfile.Volatile); err != nil {
		return nil, err
	}
	return &Artifact{Manifest: m, Dir: filepath.Join(d.store.dir, d.id)}, nil
}

// Seal makes a loose artifact durable and verifiable. It does nothing if the artifact is
// sealed or was removed, and returns a CorruptError if it was written before the machine
// last booted.
func (s *Store) Seal(id string) error {
	a, err := s.getLocal(id)
	if errors.Is(err, ErrMissing) {
		return nil
	}
	if err != nil || a.Boot == "" {
		return err
	}
	if err := a.checkBoot(); err != nil {
		return err
	}
	a.Boot = ""
	for i, f := range a.Files {
		if a.Files[i], err = a.settle(f.Name); err != nil {
			break
		}
	}
	if err == nil {
		err = a.replaceManifest()
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed in the meantime
	}
	if err != nil {
		return fmt.Errorf("seal artifact %s: %w", id, err)
	}
	if s.depot != nil {
		s.depot.note(id)
	}
	return atomicfile.SyncDir(s.dir)
}

// settleStep is how many bytes are written to the disk at once. If it were the whole file,
// other writers, such as a sandbox being resumed, would have to wait behind it.
const settleStep = 8 << 20

// settle writes a file to the disk step by step and computes its checksum. It stops if the
// artifact is removed in the meantime.
func (a *Artifact) settle(name string) (File, error) {
	path := filepath.Join(a.Dir, name)
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	var from int64 // what is before is on its way to the disk
	file, err := sumParts(f, func(at, n int64) error {
		if at+n-from < settleStep {
			return nil
		}
		// Best effort: not every file system supports it, and Sync follows in any case.
		_ = unix.SyncFileRange(int(f.Fd()), from, at+n-from,
			unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		from = at + n
		_, err := os.Stat(path)
		return err
	})
	if err != nil {
		return File{}, err
	}
	return file, f.Sync()
}

func (a *Artifact) replaceManifest() error {
	data, err := json.Marshal(a.Manifest)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(a.Dir, manifestFile), data, 0o600, atomicfile.Durable)
}

// checkBoot reports whether the machine has been up since a loose artifact was written.
func (a *Artifact) checkBoot() error {
	now, err := bootID()
	if err != nil {
		return err
	}
	if a.Boot != now {
		return &CorruptError{ID: a.ID, Reason: "the machine stopped before all of it was on the disk"}
	}
	return nil
}

// bootID identifies the current boot of the machine.
var bootID = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the machine's boot ID: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
})
