package orchestrator

import (
	"time"

	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// record is a sandbox as files tell it: enough to adopt it, or to remove what is left of
// it, after this process was killed at any point.
type record struct {
	Sandbox   shoal.Sandbox `json:"sandbox"`
	CreatedAt time.Time     `json:"createdAt"`
	// Identity is the guest's, or the latest one's, and then without a slot.
	guest.Identity
	Saved *snapshot.Saved `json:"saved,omitempty"`
}

// isKept tells whether the record is one for the disk.
func (r record) isKept() bool {
	return r.Saved != nil && r.Saved.OnDisk && r.Sandbox.State == shoal.StatePaused
}

// recordLocked is what there is to write; s.mu is held.
func (s *sandbox) recordLocked() record {
	r := record{Sandbox: s.view, CreatedAt: s.createdAt, Identity: s.last}
	if s.saved != nil {
		from := *s.saved
		r.Saved = &from
	}
	if s.guest == nil {
		r.SlotIndex = 0
	}
	return r
}
