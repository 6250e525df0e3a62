package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

// An artifact may be given its name before it is on the disk: a loose one is whole
// for as long as the machine runs, whatever process dies, and is sealed soon after.
// If the machine stops in between, it counts as damaged.

// CommitLoose is Commit without the wait for the disk and without checksums; Seal
// makes up for both.
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

// Seal makes a loose artifact durable and able to be verified. One that is sealed,
// or was removed, is left alone; one of an earlier run of the machine is a
// CorruptError.
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
		return nil // removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("seal artifact %s: %w", id, err)
	}
	if s.depot != nil {
		s.depot.note(id)
	}
	return atomicfile.SyncDir(s.dir)
}

// settleStep is how much is on its way to the disk at once, in bytes. All of it at once
// would make whoever else writes wait behind it, such as a sandbox that is resumed.
const settleStep = 8 << 20

// settle brings a file to the disk, bit by bit, while its checksum is made. It stops if
// the artifact is removed meanwhile.
func (a *Artifact) settle(name string) (File, error) {
	path := filepath.Join(a.Dir, name)
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	file, hash := File{Name: name}, crc32.New(castagnoli)
	for buffer := make([]byte, 1<<20); ; {
		n, err := io.CopyBuffer(struct{ io.Writer }{hash}, io.LimitReader(f, settleStep), buffer)
		if err != nil {
			return File{}, err
		}
		if n == 0 {
			break
		}
		// Best effort: not every file system can, and Sync comes in any case.
		_ = unix.SyncFileRange(int(f.Fd()), file.Size, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		file.Size += n
		if _, err := os.Stat(path); err != nil {
			return File{}, err
		}
	}
	file.CRC32C = hash.Sum32()
	return file, f.Sync()
}

func (a *Artifact) replaceManifest() error {
	data, err := json.Marshal(a.Manifest)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(a.Dir, manifestFile), data, 0o600, atomicfile.Durable)
}

// checkBoot tells whether the machine has run since a loose artifact was written.
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

// bootID names this run of the machine.
var bootID = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the machine's boot ID: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
})
