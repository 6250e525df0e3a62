package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// record is a sandbox on disk: enough to adopt it, or to remove what is left of
// it, after this process was killed at any point.
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

func (o *Orchestrator) recordPath(sandboxID string) string {
	return filepath.Join(o.recordsDir(), sandboxID+".json")
}

// writeRecord replaces the record as a whole. It is waited for until the disk has it only
// if it names a snapshot that the disk has: nothing else that it describes survives the
// machine, and the wait would be for the snapshot's pages, too.
func (o *Orchestrator) writeRecord(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a sandbox record: %w", err)
	}
	path := o.recordPath(r.Sandbox.SandboxID)
	durable := r.Saved != nil && r.Saved.onDisk && r.Sandbox.State == shoal.StatePaused
	err = writeFile(path+".tmp", data, durable)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err == nil && durable {
		err = syncDir(o.recordsDir())
	}
	if err != nil {
		return fmt.Errorf("write a sandbox record: %w", err)
	}
	return nil
}

func writeFile(path string, data []byte, durable bool) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// forget removes a sandbox's record for good.
func (o *Orchestrator) forget(s *sandbox) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	s.forgotten = true
	return o.removeRecord(s.id)
}

func (o *Orchestrator) removeRecord(sandboxID string) error {
	if err := os.Remove(o.recordPath(sandboxID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a sandbox record: %w", err)
	}
	return nil
}

// readRecords returns every record. A temporary file is a write that never
// happened and is removed; a record that cannot be understood is put aside, for it may
// be the only trace of a sandbox, and must not keep the others from their start.
func (o *Orchestrator) readRecords() ([]record, error) {
	entries, err := os.ReadDir(o.recordsDir())
	if err != nil {
		return nil, fmt.Errorf("read sandbox records: %w", err)
	}
	var records []record
	for _, e := range entries {
		path := filepath.Join(o.recordsDir(), e.Name())
		if strings.HasSuffix(e.Name(), asideSuffix) {
			continue
		}
		if strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a sandbox record: %w", err)
		}
		if len(data) == 0 {
			// A power cut came before its bytes reached the disk. Only records of guests
			// are written so, and those did not survive it either.
			o.log.Warn("a sandbox ended with the machine's power", "record", path)
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
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
	r := record{Sandbox: s.view, CreatedAt: s.createdAt, GuestID: s.guestID, Root: s.root, Kernel: s.kernel}
	if s.saved != nil {
		from := *s.saved
		r.Saved = &from
	}
	if s.slot != nil {
		r.SlotIndex = s.slot.Index()
	}
	s.mu.Unlock()
	return o.writeRecord(r)
}

// settle enters a state into the record before the transition to it ends.
func (o *Orchestrator) settle(s *sandbox, state shoal.State) error {
	s.mu.Lock()
	s.view.State = state
	s.mu.Unlock()
	return o.saveView(s)
}
