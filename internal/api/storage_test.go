package api

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

const mib = 1 << 20

// hoarder is a team that may keep 1 GiB.
type hoarder struct {
	*world
	team shoal.Team
}

func newHoarder(t *testing.T) hoarder {
	w := newWorld(t)
	limits := shoal.DefaultTeamLimits()
	limits.StorageGB = 1
	h := hoarder{w, shoal.Team{ID: "55555555-5555-4555-8555-555555555555", Limits: limits}}
	w.team(h.team.ID, "hoarder", "e2b_05", limits)
	return h
}

func (h hoarder) call(method, path, body string) reply {
	h.t.Helper()
	return h.world.call(method, path, body, "X-API-Key", "e2b_05")
}

func (h hoarder) create() string {
	h.t.Helper()
	return h.world.create(`{"templateID":"base"}`, "X-API-Key", "e2b_05")
}

func (h hoarder) pause(id string) reply {
	h.t.Helper()
	return h.call("POST", "/sandboxes/"+id+"/pause", "")
}

// full checks a refusal that says what is the matter, and what to do.
func (h hoarder) full(what string, r reply) {
	h.t.Helper()
	r.wants(h.t, 429, "you have reached the maximum of storage (1 GiB): paused sandboxes, snapshots, templates and uploaded files take 1.2 GiB.")
	if r.status == 429 && (r.field(h.t, "error_code") != "team.storage_limit" || r.header.Get("Should-Retry") != "false" ||
		!strings.Contains(r.body, "Fix: Delete snapshots")) {
		h.t.Errorf("%s: %v %s", what, r.header, r.body)
	}
}

// TestStorageIsBounded: beyond the bound nothing more is written, and what runs goes on.
func TestStorageIsBounded(t *testing.T) {
	h := newHoarder(t)
	h.node.SetSaveSize(600 * mib)
	running, a := h.create(), h.create()
	waiting := h.call("POST", "/v3/templates", `{"name":"one"}`)
	waiting.wants(t, 202, "")
	start := "/v2/templates/" + waiting.field(t, "templateID").(string) + "/builds/" + waiting.field(t, "buildID").(string)
	h.pause(a).wants(t, 204, "")
	h.call("POST", "/sandboxes/"+running+"/snapshots", `{"name":"shot"}`).wants(t, 201, "")

	refused := func() {
		t.Helper()
		h.full("pause", h.pause(running))
		h.full("snapshot", h.call("POST", "/sandboxes/"+running+"/snapshots", `{}`))
		h.full("fork", h.call("POST", "/sandboxes/"+running+"/fork", ""))
		h.full("registration", h.call("POST", "/v3/templates", `{"name":"two"}`))
		h.full("start of a build", h.call("POST", start, `{"fromImage":"ubuntu:22.04","steps":[]}`))
		h.full("create", h.call("POST", "/v2/sandboxes", `{"templateID":"base","autoPause":true}`))
	}
	refused()
	if state := h.call("GET", "/sandboxes/"+running, "").field(t, "state"); state != "running" {
		t.Errorf("the sandbox is %v", state)
	}
	if kept, err := h.store.Kept(t.Context(), h.team.ID); err != nil || kept != 2 {
		t.Errorf("%d templates or builds, %v", kept, err)
	}
	h.create()
	h.pause(a).wants(t, 409, "is already paused")
	h.call("POST", "/v2/sandboxes/"+a+"/connect", "").wants(t, 201, "")
	h.pause(a).wants(t, 204, "") // there was room meanwhile
	refused()

	h.call("DELETE", "/templates/shot", "").wants(t, 204, "")
	h.call("POST", start, `{"fromImage":"ubuntu:22.04","steps":[]}`).wants(t, 202, "")
	h.pause(running).wants(t, 204, "")
	h.full("again", h.call("POST", "/v3/templates", `{"name":"two"}`))
	h.node.Drop(a) // killed behind the fleet's back
	h.call("POST", "/v3/templates", `{"name":"two"}`).wants(t, 202, "")
}

// TestSavesNearTheBoundTakeTurns: of pauses at once, only the last may pass the bound.
func TestSavesNearTheBoundTakeTurns(t *testing.T) {
	h := newHoarder(t)
	h.node.SetSaveSize(300 * mib)
	ids, replies := make([]string, 12), make([]reply, 12)
	for i := range ids {
		ids[i] = h.create()
	}
	h.node.OnPause(func(string) { time.Sleep(20 * time.Millisecond) }) // as long as it takes to write
	var group sync.WaitGroup
	for i, id := range ids {
		group.Go(func() { replies[i] = h.pause(id) })
	}
	group.Wait()
	paused := 0
	for _, r := range replies {
		if r.status == 204 {
			paused++
		} else {
			h.full("pause", r)
		}
	}
	if paused != 4 {
		t.Errorf("%d of 300 MiB were paused", paused)
	}
}

// TestSavesFarFromTheBoundRunTogether: they wait for each other only where it matters, and
// not for longer than their requests last.
func TestSavesFarFromTheBoundRunTogether(t *testing.T) {
	h := newHoarder(t)
	s := newStorage(h.store, h.fleet, h.server.builds.Files)
	begin := func(most int64) (func(), error) { return s.begin(t.Context(), h.team, most) }
	first, err := begin(600 * mib)
	h.must(err)
	second, err := begin(400 * mib)
	h.must(err)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.begin(short, h.team, 100*mib); err == nil {
		t.Error("more began than fits")
	}
	first()
	third, err := begin(600 * mib)
	h.must(err)
	second()
	third()
	alone, err := begin(5000 * mib)
	h.must(err)
	alone()
}

// TestUploadsAreStorage: uploaded files count, and an upload ends where the bound is.
func TestUploadsAreStorage(t *testing.T) {
	h := newHoarder(t)
	w := h.world
	reg := w.register(`{"name":"web"}`, "X-API-Key", "e2b_05")
	_, link := w.link(reg, filesHash, "X-API-Key", "e2b_05")
	h.node.SetSaveSize(1024*mib - 100)
	h.pause(h.create()).wants(t, 204, "")
	w.send("PUT", link, strings.NewReader(strings.Repeat("x", 60))).wants(t, 200, "")
	w.send("PUT", link, strings.NewReader(strings.Repeat("y", 40))).wants(t, 200, "") // in its place
	_, other := w.link(reg, strings.Repeat("ff", 32), "X-API-Key", "e2b_05")
	w.send("PUT", other, strings.NewReader(strings.Repeat("z", 1<<20))).wants(t, 429, "maximum of storage")
	if kept, err := w.server.builds.Files.Kept(h.team.ID); err != nil || kept != 40 {
		t.Errorf("%d bytes are kept, %v", kept, err)
	}
	w.send("PUT", other, strings.NewReader(strings.Repeat("z", 60))).wants(t, 200, "")
	w.send("PUT", link, strings.NewReader("more")).wants(t, 429, "maximum of storage")
	h.call("POST", "/v3/templates", `{"name":"two"}`).wants(t, 429, "maximum of storage")
}
