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
	if err := d.rename(); err != nil {
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
	if a.Files, err = seal(a.Dir, a.Files); err == nil {
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
	return syncDir(s.dir)
}

func (a *Artifact) replaceManifest() error {
	data, err := json.Marshal(a.Manifest)
	if err != nil {
		return err
	}
	next := filepath.Join(a.Dir, draftPrefix+manifestFile)
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeSynced(next, data); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(a.Dir, manifestFile)); err != nil {
		return err
	}
	return syncDir(a.Dir)
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
