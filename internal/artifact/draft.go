package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

// Draft is an artifact that is being written. The caller must call Commit or Discard.
type Draft struct {
	store *Store
	id    string
	dir   string

	// flushing waits for the goroutine that keeps dirty pages from piling up.
	flushing sync.WaitGroup
	finished chan struct{}
	once     sync.Once
}

// flushPeriod is how often written pages are pushed to the disk while a draft grows, so
// that little is left for Commit.
const flushPeriod = 20 * time.Millisecond

// Draft begins an artifact. The caller puts regular files into Dir.
func (s *Store) Draft(id string) (*Draft, error) {
	if _, err := s.path(id); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.dir, draftPrefix+id+"-")
	if err != nil {
		return nil, fmt.Errorf("begin artifact %s: %w", id, err)
	}
	return &Draft{store: s, id: id, dir: dir, finished: make(chan struct{})}, nil
}

// FlushEarly writes pages to the disk while the draft grows. That makes Commit faster and
// the writing slower, so it is not for drafts that are committed loosely or discarded. It
// may be called once.
func (d *Draft) FlushEarly() { d.flushing.Go(d.flush) }

// Dir is the directory for the files.
func (d *Draft) Dir() string { return d.dir }

// flush starts writing dirty pages, without waiting for the writes to finish.
func (d *Draft) flush() {
	tick := time.NewTicker(flushPeriod)
	defer tick.Stop()
	for {
		select {
		case <-d.finished:
			return
		case <-tick.C:
		}
		entries, err := os.ReadDir(d.dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			f, err := os.Open(filepath.Join(d.dir, e.Name()))
			if err != nil {
				continue
			}
			// Best effort: Commit syncs in any case.
			_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
			f.Close()
		}
	}
}

func (d *Draft) stopFlushing() {
	d.once.Do(func() { close(d.finished) })
	d.flushing.Wait()
}

// Discard removes the draft; after Commit it does nothing.
func (d *Draft) Discard() error {
	d.stopFlushing()
	return os.RemoveAll(d.dir)
}

// Commit durably makes the draft the artifact of its name, replacing one that exists. meta
// belongs to the caller and is stored as JSON. After an error the draft can only be
// discarded.
func (d *Draft) Commit(meta any) (*Artifact, error) {
	d.stopFlushing()
	a, err := d.commit(meta)
	if err != nil {
		return nil, fmt.Errorf("store artifact %s: %w", d.id, err)
	}
	return a, nil
}

func (d *Draft) commit(meta any) (*Artifact, error) {
	raw, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	m := Manifest{ID: d.id, CreatedAt: time.Now().UTC(), Meta: raw}
	names, err := d.files()
	if err != nil {
		return nil, err
	}
	if m.Files, err = seal(d.dir, names); err != nil {
		return nil, err
	}
	if err := d.finish(m); err != nil {
		return nil, err
	}
	if d.store.depot != nil {
		d.store.depot.note(d.id)
	}
	return &Artifact{Manifest: m, Dir: filepath.Join(d.store.dir, d.id)}, nil
}

// finish writes the manifest of the sealed files and gives the draft its name.
func (d *Draft) finish(m Manifest) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(d.dir, manifestFile), data, 0o600,
		atomicfile.Durable); err != nil {
		return err
	}
	return d.rename(atomicfile.Durable)
}

// files lists the files that the caller has written.
func (d *Draft) files() ([]File, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: e.Name(), Size: info.Size()})
	}
	return files, nil
}

// rename gives the draft its name, replacing an artifact that has it.
func (d *Draft) rename(durability atomicfile.Durability) error {
	path, err := d.store.path(d.id)
	if err != nil {
		return err
	}
	err = atomicfile.Rename(d.dir, path, durability)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		if err := d.store.removeLocal(d.id); err != nil {
			return err
		}
		err = atomicfile.Rename(d.dir, path, durability)
	}
	return err
}

// seal syncs each file and computes its checksum.
func seal(dir string, names []File) ([]File, error) {
	files := make([]File, len(names))
	var g errgroup.Group
	for i, f := range names {
		path := filepath.Join(dir, f.Name)
		g.Go(func() error { return syncFile(path) })
		g.Go(func() (err error) {
			files[i], err = sum(path)
			return err
		})
	}
	return files, g.Wait()
}

// Verify reads every file and compares checksums; a difference is a CorruptError.
func (a *Artifact) Verify() error {
	if a.Boot != "" {
		return a.checkBoot()
	}
	for _, f := range a.Files {
		if err := a.verifyFile(f); err != nil {
			return err
		}
	}
	return nil
}

// VerifyFile verifies one file; it returns ErrMissing if the artifact has no such file.
func (a *Artifact) VerifyFile(name string) error {
	if a.Boot != "" {
		return a.checkBoot()
	}
	at := slices.IndexFunc(a.Files, func(f File) bool { return f.Name == name })
	if at < 0 {
		return fmt.Errorf("%w: %s of %s", ErrMissing, name, a.ID)
	}
	return a.verifyFile(a.Files[at])
}

func (a *Artifact) verifyFile(want File) error {
	got, err := sum(filepath.Join(a.Dir, want.Name))
	if err != nil {
		return fmt.Errorf("read artifact %s: %w", a.ID, err)
	}
	if !got.same(want) {
		return &CorruptError{ID: a.ID, Reason: want.Name +
			" does not have the checksum that it was stored with"}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
