package orchestrator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// record is a sandbox as files tell it: enough to adopt it, or to remove what is left of
// it, after this process was killed at any point.
//
// It is written to two places. The live one, on tmpfs, has every state: it outlives any
// process, as guests do, and a write to it never waits behind the disk. The kept one has
// a paused sandbox whose snapshot is on the disk: it outlives the machine. Where both
// exist the live one is right.
type record struct {
	Sandbox   shoal.Sandbox `json:"sandbox"`
	CreatedAt time.Time     `json:"createdAt"`
	// GuestID, SlotIndex, Root and Kernel belong to the current boot. A slot index
	// of 0 means that none was taken yet.
	GuestID   string       `json:"guestID"`
	SlotIndex int          `json:"slotIndex"`
	Root      runtime.Root `json:"root"`
	Kernel    string       `json:"kernel,omitempty"`
	Saved     *saved       `json:"saved,omitempty"`
}

// isKept tells whether the record is one for the disk.
func (r record) isKept() bool {
	return r.Saved != nil && r.Saved.onDisk && r.Sandbox.State == shoal.StatePaused
}

func (o *Orchestrator) liveDir() string { return filepath.Join(o.cfg.RunDir, "sandboxes") }
func (o *Orchestrator) keptDir() string { return filepath.Join(o.cfg.DataDir, "sandboxes") }

func recordPath(dir, sandboxID string) string { return filepath.Join(dir, sandboxID+".json") }

// writeRecord replaces the record as a whole.
func (o *Orchestrator) writeRecord(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a sandbox record: %w", err)
	}
	if r.isKept() {
		err = keepFile(recordPath(o.keptDir(), r.Sandbox.SandboxID), data)
	}
	if err == nil {
		err = atomicfile.WriteFile(recordPath(o.liveDir(), r.Sandbox.SandboxID), data, 0o600, atomicfile.Volatile)
	}
	if err != nil {
		return fmt.Errorf("write a sandbox record: %w", err)
	}
	return nil
}

// keepFile writes what the disk shall have, and mostly has.
func keepFile(path string, data []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return atomicfile.WriteFile(path, data, 0o600, atomicfile.Durable)
}

// unkeep removes what the disk says of a sandbox that is paused no more: its snapshot
// is about to go.
func (o *Orchestrator) unkeep(s *sandbox) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.mu.Lock()
	kept := s.recordLocked().isKept() // paused anew meanwhile
	s.mu.Unlock()
	if kept {
		return nil
	}
	return removeRecordIn(o.keptDir(), s.id)
}

// forget removes a sandbox's record for good.
func (o *Orchestrator) forget(s *sandbox) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.forgotten = true
	return o.removeRecord(s.id)
}

// removeRecord begins with the kept one, which would be believed without the live one.
func (o *Orchestrator) removeRecord(sandboxID string) error {
	if err := removeRecordIn(o.keptDir(), sandboxID); err != nil {
		return err
	}
	return removeRecordIn(o.liveDir(), sandboxID)
}

func removeRecordIn(dir, sandboxID string) error {
	if err := os.Remove(recordPath(dir, sandboxID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a sandbox record: %w", err)
	}
	return nil
}

// readRecords returns the record of every sandbox.
func (o *Orchestrator) readRecords() ([]record, error) {
	records, err := o.readRecordsIn(o.liveDir())
	if err != nil {
		return nil, err
	}
	live := map[string]bool{}
	for _, r := range records {
		live[r.Sandbox.SandboxID] = true
	}
	kept, err := o.readRecordsIn(o.keptDir())
	for _, r := range kept {
		if !live[r.Sandbox.SandboxID] {
			records = append(records, r)
		}
	}
	return records, err
}

// readRecordsIn reads a directory. A temporary file is a write that never happened and
// is removed; a record that cannot be understood is put aside, for it may be the only
// trace of a sandbox, and must not keep the others from their start.
func (o *Orchestrator) readRecordsIn(dir string) ([]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read sandbox records: %w", err)
	}
	var records []record
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
			o.log.Error("a sandbox is lost: its record cannot be understood and is put aside", "record", path+asideSuffix, "error", err)
			if err := os.Rename(path, path+asideSuffix); err != nil {
				return nil, err
			}
			continue
		}
		records = append(records, r)
	}
	return records, nil
}

// asideSuffix is of records that nobody understands.
const asideSuffix = ".unreadable"

// saveView writes the record of a sandbox as it is now; none any more once it was
// removed.
func (o *Orchestrator) saveView(s *sandbox) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	if s.forgotten {
		return nil
	}
	s.mu.Lock()
	r := s.recordLocked()
	s.mu.Unlock()
	return o.writeRecord(r)
}

// recordLocked is what there is to write; s.mu is held.
func (s *sandbox) recordLocked() record {
	r := record{Sandbox: s.view, CreatedAt: s.createdAt, GuestID: s.guestID, Root: s.root, Kernel: s.kernel}
	if s.saved != nil {
		from := *s.saved
		r.Saved = &from
	}
	if s.slot != nil {
		r.SlotIndex = s.slot.Index()
	}
	return r
}

// settle enters a state into the record before the transition to it ends.
func (o *Orchestrator) settle(s *sandbox, state shoal.State) error {
	s.mu.Lock()
	s.view.State = state
	s.mu.Unlock()
	return o.saveView(s)
}
