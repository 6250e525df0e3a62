package orchestrator

import (
	"encoding/json"
	"testing"
	"time"

	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestRecordOfAnotherVersion: versions of Shoal read each other's records, one way at an
// upgrade and the other way when it is undone.
func TestRecordOfAnotherVersion(t *testing.T) {
	const text = `{"sandbox":{"sandboxID":"i1","state":"paused"},"createdAt":"2026-01-02T03:04:05Z",
		"guestID":"i1-ab","slotIndex":7,"root":"/a:/b","kernel":"k","saved":{"artifact":"pause-i1-cd","memory":true}}`
	var r record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	want := guest.Identity{GuestID: "i1-ab", SlotIndex: 7, Root: "/a:/b", Maker: runtime.Maker{Kernel: "k"}}
	if r.Identity != want || *r.Saved != (snapshot.Saved{Artifact: "pause-i1-cd", Memory: true}) ||
		r.Sandbox.SandboxID != "i1" || r.Sandbox.State != shoal.StatePaused || r.CreatedAt.Year() != 2026 {
		t.Errorf("read as %+v", r)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]any
	if err := json.Unmarshal([]byte(text), &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &after); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"createdAt", "guestID", "slotIndex", "root", "kernel"} {
		if after[key] != before[key] {
			t.Errorf("%s: %v, want %v", key, after[key], before[key])
		}
	}
	saved, _ := after["saved"].(map[string]any)
	if len(saved) != 2 || saved["artifact"] != "pause-i1-cd" || saved["memory"] != true {
		t.Errorf("saved: %v", saved)
	}
}

// TestRecordWithoutAGuest: a slot that was given back is another's by now.
func TestRecordWithoutAGuest(t *testing.T) {
	sb := &sandbox{id: "i1", createdAt: time.Now(), last: guest.Identity{GuestID: "i1-ab", SlotIndex: 7, Root: "/a"}}
	if r := sb.recordLocked(); r.SlotIndex != 0 || r.Root != "/a" || r.GuestID != "i1-ab" {
		t.Errorf("%+v", r)
	}
}
