package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/eventlog"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// noSlots are those of a machine on which no guest is left.
type noSlots struct{}

func (noSlots) Acquire(context.Context) (*network.Slot, error) { return nil, os.ErrNotExist }
func (noSlots) Release(*network.Slot)                          {}
func (noSlots) Adopt(int) (*network.Slot, error)               { return nil, os.ErrNotExist }
func (noSlots) Reclaim(func(int) bool) error                   { return nil }

// teller is a machine without guests: records, the log of events and what recovers them.
type teller struct {
	t    *testing.T
	dir  string
	orch *Orchestrator
	disk *eventlog.Log
}

func newTeller(t *testing.T) *teller {
	t.Helper()
	n := &teller{t: t, dir: t.TempDir()}
	n.open()
	t.Cleanup(n.crash)
	return n
}

func (n *teller) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// open is a start.
func (n *teller) open() {
	n.t.Helper()
	data, log := filepath.Join(n.dir, "data"), slog.New(slog.DiscardHandler)
	n.must(os.MkdirAll(data, 0o700))
	var err error
	n.disk, err = eventlog.Open(n.t.Context(), filepath.Join(data, "events.db"), log)
	n.must(err)
	images, err := image.Open(filepath.Join(n.dir, "images"))
	n.must(err)
	artifacts, err := artifact.Open(filepath.Join(data, "artifacts"))
	n.must(err)
	n.orch = New(Config{NodeID: "n", DataDir: data, RunDir: filepath.Join(n.dir, "run"), Events: n.disk},
		runtime.Set{}, noSlots{}, images, artifacts, log)
	n.must(n.orch.Recover(n.t.Context()))
	n.orch.pauses.sealing.Wait()
}

// crash ends the process at once: what is in memory only is lost.
func (n *teller) crash() {
	n.orch.tasks.stop()
	n.disk.Close()
}

func (n *teller) restart() {
	n.t.Helper()
	n.crash()
	n.open()
}

// add enters a sandbox that was just created.
func (n *teller) add(id string) *sandbox {
	n.t.Helper()
	sb := &sandbox{id: id, view: shoal.Sandbox{Spec: shoal.Spec{SandboxID: id, TeamID: "team", TemplateID: "t",
		BuildID: "b", Metadata: map[string]string{"who": id}, Resources: shoal.Resources{CPUCount: 2, MemoryMB: 512},
		MaxLength: time.Hour}, State: shoal.StateCreating, ExecutionID: "e",
		StartedAt: time.Now().Add(-time.Minute), EndAt: time.Now().Add(time.Minute)}}
	sb.last.SlotIndex = 1
	n.orch.table.add(sb)
	n.must(n.orch.records.saveEvent(sb, to(shoal.StateRunning, shoal.EventCreated)))
	return sb
}

// pause records that a sandbox is paused, with its snapshot on the disk.
func (n *teller) pause(sb *sandbox) {
	n.t.Helper()
	sb.saved = &snapshot.Saved{Artifact: snapshot.PauseName(sb.id), OnDisk: true}
	sb.view.EndAt = time.Now().UTC()
	n.must(n.orch.records.saveEvent(sb, to(shoal.StatePaused, shoal.EventPaused)))
}

// told brings what is left to the disk, and returns all events there, by sandbox, as
// "1 created, 2 paused". It fails if an ID is there twice.
func (n *teller) told() map[string]string {
	n.t.Helper()
	n.must(n.orch.outbox.tellAll(n.t.Context()))
	batch, _, err := n.disk.After(n.t.Context(), shoal.EventMark{})
	n.must(err)
	texts, ids := map[string]string{}, map[string]bool{}
	for _, e := range batch.Events {
		if ids[e.ID] {
			n.t.Errorf("event %s is there twice", e.ID)
		}
		ids[e.ID] = true
		var data shoal.EventData
		n.must(json.Unmarshal([]byte(e.Data), &data))
		if data.Metadata["who"] != e.SandboxID || e.TeamID != "team" || e.BuildID != "b" || e.TemplateID != "t" {
			n.t.Errorf("it says %+v", e)
		}
		text := fmt.Sprint(e.Number, " ", strings.TrimPrefix(string(e.Type), "sandbox.lifecycle."))
		if data.KillReason != "" {
			text += " by " + data.KillReason
		}
		if texts[e.SandboxID] != "" {
			text = texts[e.SandboxID] + ", " + text
		}
		texts[e.SandboxID] = text
	}
	return texts
}

func (n *teller) wants(id, want string) {
	n.t.Helper()
	if got := n.told()[id]; got != want {
		n.t.Errorf("%s: %q is told, want %q", id, got, want)
	}
}

// ids are the IDs of the events in the log.
func (n *teller) ids() (list []string) {
	n.t.Helper()
	batch, _, err := n.disk.After(n.t.Context(), shoal.EventMark{})
	n.must(err)
	for _, e := range batch.Events {
		list = append(list, e.ID)
	}
	return list
}

// records are the names of the live records.
func (n *teller) records() string {
	n.t.Helper()
	entries, err := os.ReadDir(n.orch.records.live)
	n.must(err)
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return strings.Join(names, " ")
}

// TestToldAfterCrash: an event that is in a record is told by the next process, and once.
func TestToldAfterCrash(t *testing.T) {
	n := newTeller(t)
	n.pause(n.add("paused"))
	n.restart()
	n.wants("paused", "1 created, 2 paused")
	n.restart()
	n.wants("paused", "1 created, 2 paused")
	back := n.orch.table.byID["paused"]
	if back.untold.count != 2 || len(back.untold.events) != 0 {
		t.Errorf("the next process knows of %d events, %d of them untold", back.untold.count, len(back.untold.events))
	}
	n.must(n.orch.records.saveEvent(back, to(shoal.StateRunning, shoal.EventResumed)))
	n.wants("paused", "1 created, 2 paused, 3 resumed")
}

// TestToldTwiceIsTheSame: a crash between the log and the record tells events again, under the
// same IDs, also if they were taken meanwhile; and not in another order.
func TestToldTwiceIsTheSame(t *testing.T) {
	for _, taken := range []bool{false, true} {
		n := newTeller(t)
		sb := n.add("one")
		n.pause(sb)
		n.must(n.disk.Append(t.Context(), sb.untoldNow(false)))
		before := strings.Join(n.ids(), " ")
		if taken {
			batch, _, err := n.disk.After(t.Context(), shoal.EventMark{})
			n.must(err)
			_, _, err = n.disk.After(t.Context(), batch.Next)
			n.must(err)
		}
		n.restart()
		n.wants("one", "1 created, 2 paused")
		if after := strings.Join(n.ids(), " "); after != before {
			t.Errorf("taken %v: told as %s, then as %s", taken, before, after)
		}
	}
}

// TestKillIsToldOnce: wherever a kill is cut off, its end is told once, with its reason, and
// nothing of the sandbox is left.
func TestKillIsToldOnce(t *testing.T) {
	for step := range 4 {
		n := newTeller(t)
		sb := n.add("one")
		n.pause(sb)
		if step >= 1 {
			_, err := n.orch.records.enter(sb, killed(shoal.KillRequest), true)
			n.must(err)
		}
		if step >= 2 {
			n.must(n.disk.Append(t.Context(), sb.untoldNow(true)))
		}
		if step >= 3 {
			n.must(os.Remove(recordPath(n.orch.records.kept, sb.id)))
		}
		n.restart()
		if step == 0 {
			n.must(n.orch.Kill(t.Context(), "one", shoal.KillRequest))
		}
		n.wants("one", "1 created, 2 paused, 3 killed by request")
		n.restart()
		n.wants("one", "1 created, 2 paused, 3 killed by request")
		if left := n.records(); left != "" {
			t.Errorf("step %d: records of %s are left", step, left)
		}
	}
}

// TestGuestIsGone: a sandbox that ran and has no guest any more has ended, for no reason that
// is known; one whose pause had kept all of it is paused; a create that was cut off is not told.
func TestGuestIsGone(t *testing.T) {
	n := newTeller(t)
	n.add("ran")
	half := n.add("half")
	half.untold = untold{}
	n.must(n.orch.records.saveAs(half, shoal.StateCreating))
	n.restart()
	n.wants("ran", "1 created, 2 killed by unknown")
	n.wants("half", "")
	n.restart()
	n.wants("ran", "1 created, 2 killed by unknown")
	if left := n.records(); left != "" {
		t.Errorf("records of %s are left", left)
	}
}

// TestResumeIsUndone: a resume that was cut off is not told, and its number is not missing.
func TestResumeIsUndone(t *testing.T) {
	n := newTeller(t)
	sb := n.add("one")
	n.pause(sb)
	n.must(n.orch.records.saveAs(sb, shoal.StateResuming))
	n.restart()
	n.wants("one", "1 created, 2 paused")
	n.must(n.orch.Kill(t.Context(), "one", shoal.KillTimeout))
	n.wants("one", "1 created, 2 paused, 3 killed by timeout")
}

// TestEndsInAPowerCut: records on tmpfs are gone. What ran has ended, as far as the log knows of it;
// what is kept on the disk is paused still.
func TestEndsInAPowerCut(t *testing.T) {
	n := newTeller(t)
	n.add("ran")
	n.pause(n.add("paused"))
	n.told()
	n.add("unknown") // nothing of it is on the disk
	n.crash()
	n.must(os.RemoveAll(filepath.Join(n.dir, "run")))
	n.open()
	n.wants("ran", "1 created, 2 killed by orphaned")
	n.wants("paused", "1 created, 2 paused")
	n.wants("unknown", "")
	n.restart()
	n.wants("ran", "1 created, 2 killed by orphaned")
	n.must(n.orch.Kill(t.Context(), "paused", shoal.KillRequest))
	n.wants("paused", "1 created, 2 paused, 3 killed by request")
}

// TestRecordCannotBeWritten: what is not in the record was not, and is not told.
func TestRecordCannotBeWritten(t *testing.T) {
	n := newTeller(t)
	sb := n.add("one")
	n.must(os.Rename(n.orch.records.live, n.orch.records.live+".away"))
	if err := n.orch.records.saveEvent(sb, to(shoal.StatePaused, shoal.EventPaused)); err == nil {
		t.Error("it was written")
	}
	if _, err := n.orch.SetDeadline(t.Context(), "one", shoal.DeadlineChange{Timeout: time.Minute}); err == nil {
		t.Error("a change was recorded")
	}
	n.must(os.Rename(n.orch.records.live+".away", n.orch.records.live))
	n.must(n.orch.records.saveEvent(sb, to(shoal.StateRunning, shoal.EventCheckpointed)))
	n.wants("one", "1 created, 2 checkpointed")
}

// TestDiskRefuses: while the disk takes no events, sandboxes end all the same, and their end is
// told later: by this process, or by the next.
func TestDiskRefuses(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		n := newTeller(t)
		n.add("one")
		n.must(n.disk.Close())
		n.must(n.orch.Kill(t.Context(), "one", shoal.KillRequest))
		if _, err := n.orch.Get(t.Context(), "one"); !shoal.ErrSandboxNotFound.Matches(err) {
			t.Errorf("it is still there: %v", err)
		}
		if err := n.orch.outbox.tellAll(t.Context()); err == nil {
			t.Error("a closed log takes events")
		}
		if restarts {
			n.restart()
		} else {
			var err error
			n.disk, err = eventlog.Open(t.Context(), filepath.Join(n.dir, "data", "events.db"), slog.New(slog.DiscardHandler))
			n.must(err)
			n.orch.outbox.disk = n.disk
		}
		n.wants("one", "1 created, 2 killed by request")
		if left := n.records(); left != "" {
			t.Errorf("restarts %v: records of %s are left", restarts, left)
		}
	}
}

// TestUpdates: a change of the time is told if there is one.
func TestUpdates(t *testing.T) {
	n := newTeller(t)
	sb := n.add("one")
	for _, change := range []shoal.DeadlineChange{
		{Timeout: 10 * time.Minute}, {Timeout: time.Second, ExtendOnly: true}, {Timeout: 20 * time.Minute},
	} {
		if _, err := n.orch.SetDeadline(t.Context(), "one", change); err != nil {
			t.Fatal(err)
		}
	}
	events := sb.untoldNow(false)
	var data shoal.EventData
	n.must(json.Unmarshal([]byte(events[len(events)-1].Data), &data))
	if data.SetTimeout == nil || !data.SetTimeout.Equal(sb.viewNow().EndAt) {
		t.Errorf("it says %s; the end is %s", events[len(events)-1].Data, sb.viewNow().EndAt)
	}
	n.wants("one", "1 created, 2 updated, 3 updated")
	for range maxUntold + 10 {
		if _, err := n.orch.SetDeadline(t.Context(), "one", shoal.DeadlineChange{Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(sb.untoldNow(false)); got != maxUntold {
		t.Errorf("%d events wait for the disk", got)
	}
	n.must(n.orch.Kill(t.Context(), "one", shoal.KillRequest))
	var last shoal.Event
	for mark := (shoal.EventMark{}); ; {
		batch, _, err := n.disk.After(t.Context(), mark)
		n.must(err)
		if len(batch.Events) == 0 {
			break
		}
		last, mark = batch.Events[len(batch.Events)-1], batch.Next
	}
	if last.Type != shoal.EventKilled || last.Number != maxUntold+4 {
		t.Errorf("the last event is %+v", last)
	}
}

// TestTimesGoForward although clocks may not.
func TestTimesGoForward(t *testing.T) {
	u := untold{last: time.Now().UTC().Add(time.Hour).Truncate(time.Microsecond)}
	for range 3 {
		at := u.at()
		if !at.After(u.last) {
			t.Errorf("%s comes after %s", at, u.last)
		}
		u.add(shoal.Event{Time: at})
	}
}

// TestKillReasons: clients get words that they know.
func TestKillReasons(t *testing.T) {
	known := map[string]bool{"unknown": true, "request": true, "timeout": true, "admin": true, "orphaned": true}
	for _, reason := range []shoal.KillReason{shoal.KillRequest, shoal.KillTimeout, shoal.KillAdmin, shoal.KillOrphaned,
		shoal.KillCrashed, shoal.KillDown, shoal.KillUnknown} {
		if word := shoal.KillReasonOf(reason); !known[word] {
			t.Errorf("%s is told as %s", reason, word)
		}
	}
}

// BenchmarkRecord is what a change of state costs its caller, without and with an event. The
// directory is on tmpfs where there is one.
func BenchmarkRecord(b *testing.B) {
	dir := b.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "shoal-bench-"); err == nil {
		dir = shm
		b.Cleanup(func() { os.RemoveAll(shm) })
	}
	for _, tells := range []bool{false, true} {
		b.Run(fmt.Sprintf("tells=%v", tells), func(b *testing.B) {
			f := newRecords(&Config{RunDir: dir, DataDir: b.TempDir()}, slog.New(slog.DiscardHandler))
			f.tells, f.news = tells, func() {}
			if err := f.open(); err != nil {
				b.Fatal(err)
			}
			sb := &sandbox{id: "one", view: shoal.Sandbox{Spec: shoal.Spec{SandboxID: "one", TeamID: "team",
				Metadata: map[string]string{"a": "b"}}, ExecutionID: shoal.NewExecutionID(), StartedAt: time.Now()}}
			for b.Loop() {
				if err := f.saveEvent(sb, to(shoal.StateRunning, shoal.EventCreated)); err != nil {
					b.Fatal(err)
				}
				sb.untold.events = nil // told meanwhile
			}
		})
	}
}

// TestEventsOfGuests: what really happens is told, in its order, while others take the events.
func TestEventsOfGuests(t *testing.T) {
	n := newNode(t)
	n.close()
	events, err := eventlog.Open(t.Context(), filepath.Join(n.dir, "events.db"), n.log)
	n.must(err)
	n.events = events
	n.open()
	ctx := context.Background()
	sb := n.create()
	_, err = n.orch.SetDeadline(ctx, sb.SandboxID, shoal.DeadlineChange{Timeout: 10 * time.Minute})
	n.must(err)
	n.pause(sb)
	back := n.resume(sb)
	n.must(n.orch.SetNetwork(ctx, sb.SandboxID, shoal.Network{DenyOut: []string{"1.1.1.1"}}))
	_, err = n.orch.Snapshot(ctx, sb.SandboxID, shoal.SnapshotTarget{TemplateID: "t", BuildID: shoal.NewBuildID()})
	n.must(err)
	n.must(n.orch.Kill(ctx, sb.SandboxID, shoal.KillRequest))
	want := []shoal.EventType{shoal.EventCreated, shoal.EventUpdated, shoal.EventPaused, shoal.EventResumed,
		shoal.EventUpdated, shoal.EventCheckpointed, shoal.EventKilled}
	var got []shoal.Event
	for mark := (shoal.EventMark{}); len(got) < len(want); {
		batch, err := n.orch.Events(ctx, mark)
		n.must(err)
		got, mark = append(got, batch.Events...), batch.Next
	}
	for i, e := range got {
		execution := sb.ExecutionID
		if i >= 3 {
			execution = back.ExecutionID
		}
		if e.Type != want[i] || e.Number != int64(i+1) || e.ExecutionID != execution {
			t.Errorf("event %d is %+v, want %s of %s", i, e, want[i], execution)
		}
	}
	var last shoal.EventData
	n.must(json.Unmarshal([]byte(got[6].Data), &last))
	if last.KillReason != "request" || last.Execution == nil || !last.Execution.StartedAt.Equal(back.StartedAt) ||
		last.Execution.CPUCount != 1 || last.Execution.MemoryMB != 256 || last.Execution.Milliseconds <= 0 {
		t.Errorf("the end says %s", got[6].Data)
	}
	if !strings.Contains(got[4].Data, `"deny_out":["1.1.1.1"]`) {
		t.Errorf("the change of the network says %s", got[4].Data)
	}
	n.gone(sb)
}
