package orchestrator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// record is a sandbox as files tell it: enough to adopt it, or to remove what is left of
// it, after this process was killed at any point.
type record struct {
	Sandbox   shoal.Sandbox `json:"sandbox"`
	CreatedAt time.Time     `json:"createdAt"`
	// Authority is the sandbox's certificate authority with its key (PEM), if it has one.
	Authority string `json:"authority,omitempty"`
	// Identity is the guest's, or the latest one's, and then without a slot.
	guest.Identity
	Saved *snapshot.Saved `json:"saved,omitempty"`
	// Events are those that the machine's log does not have, or may not have, yet. EventCount
	// is how many there were in all, EventAt when the last one was.
	Events     []shoal.Event `json:"events,omitempty"`
	EventCount int64         `json:"eventCount,omitempty"`
	EventAt    time.Time     `json:"eventAt,omitzero"`
}

// isKept tells whether the record is one for the disk.
func (r record) isKept() bool {
	return r.Saved != nil && r.Saved.OnDisk && r.Sandbox.State == shoal.StatePaused
}

// recordLocked is what there is to write; s.mu is held.
func (s *sandbox) recordLocked() record {
	r := record{Sandbox: s.view, CreatedAt: s.createdAt, Authority: string(s.authority), Identity: s.last,
		Events: s.untold.events, EventCount: s.untold.count, EventAt: s.untold.last}
	if s.saved != nil {
		from := *s.saved
		r.Saved = &from
	}
	switch {
	case s.stranded != "" && s.view.State == shoal.StateRunning:
		r.Sandbox.State = s.stranded // the next process, too, has to undo it
	case s.stranded == "" && s.guest == nil:
		r.SlotIndex = 0
	}
	return r
}

// records are the files of all sandboxes' records, in two places. The live one, on tmpfs,
// has every state: it outlives any process, as guests do, and a write to it never waits
// behind the disk. The kept one has a paused sandbox whose snapshot is on the disk: it
// outlives the machine. Where both exist the live one is right.
type records struct {
	live, kept string // directories
	log        *slog.Logger
	tells      bool   // events are kept
	news       func() // is called when there are some
}

func newRecords(cfg *Config, log *slog.Logger) *records {
	return &records{live: filepath.Join(cfg.RunDir, "sandboxes"),
		kept: filepath.Join(cfg.DataDir, "sandboxes"), log: log, tells: cfg.Events != nil}
}

func recordPath(dir, sandboxID string) string { return filepath.Join(dir, sandboxID+".json") }

// open makes the directories.
func (f *records) open() error {
	for _, dir := range []string{f.live, f.kept} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a directory of records: %w", err)
		}
	}
	return nil
}

// save writes the record of a sandbox as it is now. It does nothing once the record was
// removed.
func (f *records) save(s *sandbox) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	if s.forgotten {
		return nil
	}
	s.mu.Lock()
	r := s.recordLocked()
	s.mu.Unlock()
	return f.write(r)
}

// saveAs enters a state into the record before the transition to it ends.
func (f *records) saveAs(s *sandbox, state shoal.State) error {
	s.mu.Lock()
	s.view.State = state
	s.mu.Unlock()
	return f.save(s)
}

// saveEvent makes a change, and writes the record of the sandbox as it is then, with the event
// that tells of the change, at once. If it cannot be written, there is no event.
func (f *records) saveEvent(s *sandbox, c change) error {
	_, err := f.enter(s, c, false)
	return err
}

// enter is saveEvent; with keep, the event is told although it could not be written.
func (f *records) enter(s *sandbox, c change, keep bool) (told bool, err error) {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.mu.Lock()
	e, err := c(s, s.untold.at())
	if told = err == nil && e != nil && f.tells; told {
		s.untold.add(*e)
	}
	r := s.recordLocked()
	s.mu.Unlock()
	if err == nil && !s.forgotten {
		err = f.write(r)
	}
	switch {
	case told && err != nil && !keep:
		s.mu.Lock()
		s.untold.withdraw()
		s.mu.Unlock()
		return false, err
	case told:
		f.news()
	}
	return told, err
}

// withdraw takes back the last event of a sandbox, which nobody was told yet.
func (f *records) withdraw(s *sandbox) {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untold.withdraw()
}

// told removes events from the record that the machine's log has. The kept record may go on to
// have them: who gets an event again knows it by its ID.
func (f *records) told(s *sandbox, upTo int64) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.mu.Lock()
	s.untold.events = slices.DeleteFunc(slices.Clone(s.untold.events), func(e shoal.Event) bool {
		return e.Number <= upTo
	})
	r := s.recordLocked()
	s.mu.Unlock()
	if s.forgotten {
		return nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a sandbox record: %w", err)
	}
	return f.writeLive(r, data)
}

// write replaces the record as a whole.
func (f *records) write(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a sandbox record: %w", err)
	}
	if r.isKept() {
		if err := keepFile(recordPath(f.kept, r.Sandbox.SandboxID), data); err != nil {
			return fmt.Errorf("write a sandbox record: %w", err)
		}
	}
	return f.writeLive(r, data)
}

func (f *records) writeLive(r record, data []byte) error {
	err := atomicfile.WriteFile(recordPath(f.live, r.Sandbox.SandboxID), data, 0o600, atomicfile.Volatile)
	if err != nil {
		return fmt.Errorf("write a sandbox record: %w", err)
	}
	return nil
}

// keepFile writes the kept record, unless it is there unchanged.
func keepFile(path string, data []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return atomicfile.WriteFile(path, data, 0o600, atomicfile.Durable)
}

// unkeep removes what the disk says of a sandbox that is paused no more: its snapshot
// is about to go.
func (f *records) unkeep(s *sandbox) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.mu.Lock()
	kept := s.recordLocked().isKept() // paused anew meanwhile
	s.mu.Unlock()
	if kept {
		return nil
	}
	return removeRecord(f.kept, s.id)
}

// forget removes a sandbox's record for good.
func (f *records) forget(s *sandbox) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.forgotten = true
	return f.remove(s.id)
}

// remove begins with the kept record, which would be believed without the live one.
func (f *records) remove(sandboxID string) error {
	if err := removeRecord(f.kept, sandboxID); err != nil {
		return err
	}
	return removeRecord(f.live, sandboxID)
}

func removeRecord(dir, sandboxID string) error {
	if err := os.Remove(recordPath(dir, sandboxID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a sandbox record: %w", err)
	}
	return nil
}

// all returns the record of every sandbox.
func (f *records) all() ([]record, error) {
	list, err := f.read(f.live)
	if err != nil {
		return nil, err
	}
	live := map[string]bool{}
	for _, r := range list {
		live[r.Sandbox.SandboxID] = true
	}
	kept, err := f.read(f.kept)
	for _, r := range kept {
		if !live[r.Sandbox.SandboxID] {
			list = append(list, r)
		}
	}
	return list, err
}

// read reads a directory. A temporary file is a write that never happened and is removed;
// a record that cannot be understood is put aside, for it may be the only trace of a
// sandbox, and must not keep the others from their start.
func (f *records) read(dir string) ([]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read sandbox records: %w", err)
	}
	var list []record
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(e.Name(), asideSuffix) {
			continue
		}
		if strings.HasSuffix(e.Name(), atomicfile.Suffix) {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a sandbox record: %w", err)
		}
		var r record
		if err := json.Unmarshal(data, &r); err != nil {
			f.log.Error("a sandbox is lost: its record cannot be understood and is put aside",
				"record", path+asideSuffix, "error", err)
			if err := os.Rename(path, path+asideSuffix); err != nil {
				return nil, err
			}
			continue
		}
		list = append(list, r)
	}
	return list, nil
}

// asideSuffix marks records that could not be parsed.
const asideSuffix = ".unreadable"
