package api

import (
	"context"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// slowNode needs longer for saves than a request has. Pauses of it are cut off; a snapshot is
// there just when the time is over.
type slowNode struct{ *fleettest.Node }

func (n slowNode) Pause(ctx context.Context, _ string, _ shoal.PauseOptions) (shoal.Sandbox, error) {
	<-ctx.Done()
	return shoal.Sandbox{}, ctx.Err()
}

func (n slowNode) Snapshot(ctx context.Context, id string, into shoal.SnapshotTarget) (shoal.Build, error) {
	<-ctx.Done()
	return n.Node.Snapshot(context.WithoutCancel(ctx), id, into)
}

// TestRequestTime: a request whose time is over is answered, and what a machine has done
// for it by then is kept.
func TestRequestTime(t *testing.T) {
	w := newWorld(t)
	w.serveBy(slowNode{w.node})
	id := w.create(`{"templateID":"base"}`)
	w.server.requestTime = 100 * time.Millisecond

	r := w.call("POST", "/sandboxes/"+id+"/pause", "{}")
	r.wants(t, 504, "not done within")
	if r.field(t, "error_code") != shoal.ErrRequestTime.Code || r.header.Get("Should-Retry") != "false" {
		t.Errorf("%v %s", r.header, r.body)
	}
	r = w.call("POST", "/sandboxes/"+id+"/snapshots", "{}")
	r.wants(t, 201, "")
	w.server.requestTime = requestTime
	if listed := snapshotIDs(t, w.call("GET", "/snapshots", "")); listed != r.field(t, "snapshotID") {
		t.Errorf("made is %s, listed %q", r.body, listed)
	}
}
