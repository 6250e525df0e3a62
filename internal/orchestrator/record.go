package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"shoal/internal/shoal"
)

// record is a sandbox on disk: enough to adopt it, or to remove what is left of
// it, after this process was killed at any point.
type record struct {
	Sandbox shoal.Sandbox `json:"sandbox"`
	// GuestID, SlotIndex and Image belong to the current boot. A slot index of 0
	// means that none was taken yet.
	GuestID   string `json:"guestID"`
	SlotIndex int    `json:"slotIndex"`
	Image     string `json:"image"`
}

func (o *Orchestrator) recordPath(sandboxID string) string {
	return filepath.Join(o.recordsDir(), sandboxID+".json")
}

// writeRecord replaces the record as a whole. It need not reach the disk: what
// it describes does not survive the machine either.
func (o *Orchestrator) writeRecord(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a sandbox record: %w", err)
	}
	path := o.recordPath(r.Sandbox.SandboxID)
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("write a sandbox record: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write a sandbox record: %w", err)
	}
	return nil
}

func (o *Orchestrator) removeRecord(sandboxID string) error {
	if err := os.Remove(o.recordPath(sandboxID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a sandbox record: %w", err)
	}
	return nil
}

// readRecords returns every record. A temporary file is a write that never
// happened and is removed; a record that cannot be read is an error, for it may
// be the only trace of a sandbox.
func (o *Orchestrator) readRecords() ([]record, error) {
	entries, err := os.ReadDir(o.recordsDir())
	if err != nil {
		return nil, fmt.Errorf("read sandbox records: %w", err)
	}
	var records []record
	for _, e := range entries {
		path := filepath.Join(o.recordsDir(), e.Name())
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
		var r record
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, fmt.Errorf("read sandbox record %s: %w", path, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// saveView writes the record of a sandbox as it is now.
func (o *Orchestrator) saveView(s *sandbox) error {
	s.mu.Lock()
	r := record{Sandbox: s.view, GuestID: s.guestID, Image: s.image}
	if s.slot != nil {
		r.SlotIndex = s.slot.Index()
	}
	s.mu.Unlock()
	return o.writeRecord(r)
}
