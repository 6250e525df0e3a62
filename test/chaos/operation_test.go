package chaos

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// operation is one request that may never be answered. It returns a function that changes
// the world to what must be true afterwards. Those are called when Shoal is up again, so
// that operations of one round do not disturb each other.
type operation struct {
	name string
	// run makes the request and returns its status (0 if it was cut off) and how to change
	// the world because of it.
	run func(w *world, sb *sandbox, number int) (status int, settle func())
}

var operations = []operation{
	{"create", create},
	{"pause", transition("POST", "/pause", `{}`, http.StatusNoContent, "paused", "running")},
	{"pause", transition("POST", "/pause", `{}`, http.StatusNoContent, "paused", "running")},
	{"resume", transition("POST", "/resume", `{"timeout":3600}`, http.StatusCreated, "running", "paused")},
	{"resume", transition("POST", "/resume", `{"timeout":3600}`, http.StatusCreated, "running", "paused")},
	{"kill", transition("DELETE", "", "", http.StatusNoContent, "gone", "running", "paused")},
	{"expire", expire},
	{"forget", forget},
	{"wake", wake},
	{"connect", connect},
	{"snapshot", takeSnapshot},
	{"replace", replaceSnapshot},
	{"fork", fork},
	{"copy", copyOf},
}

// applies reports whether an operation makes sense for a sandbox in its state.
func (o operation) applies(w *world, sb *sandbox) bool {
	state := sb.may[0]
	switch o.name {
	case "create":
		return len(w.sandboxes) < *population
	case "resume":
		return state == "paused"
	case "wake":
		return state == "paused" && !sb.forgot
	case "connect":
		return true
	case "kill":
		return len(w.sandboxes) > *population/2
	case "fork":
		return state == "running" && len(w.sandboxes) < *population
	case "copy":
		return len(w.snapshots) > 0 && len(w.sandboxes) < *population
	default:
		return state == "running"
	}
}

// lifecycle makes every sandbox pause at its time-out and wake for traffic.
const lifecycle = `"timeout":3600,"autoPause":true,"autoResume":{"enabled":true}`

func create(w *world, _ *sandbox, number int) (int, func()) {
	mark := fmt.Sprintf("round-%d-%d", w.round, number)
	policy, ruled := "", number%2 == 0
	if ruled {
		policy = "," + onlyName
	}
	var made struct{ SandboxID string }
	status := w.call("POST", "/v2/sandboxes", fmt.Sprintf(`{"templateID":"base",%s,"metadata":{"mark":%q}%s}`,
		lifecycle, mark, policy), &made)
	return status, func() {
		if status != http.StatusCreated {
			w.open[mark] = ruled
			return
		}
		sb := &sandbox{id: made.SandboxID, mark: mark, may: []string{"running"}, ruled: ruled}
		w.await(sb.id, sb.may)
		w.write(sb)
		w.sandboxes = append(w.sandboxes, sb)
	}
}

// transition is a request that takes a sandbox to a state. If the request was not answered
// well, the sandbox may be in that state or in its old one.
func transition(method, suffix, body string, want int, to string,
	from ...string) func(*world, *sandbox, int) (int, func()) {
	return func(w *world, sb *sandbox, _ int) (int, func()) {
		status := w.call(method, "/sandboxes/"+sb.id+suffix, body, nil)
		return status, func() {
			if status == want {
				sb.may = []string{to}
			} else {
				sb.may = append([]string{to}, from...)
			}
		}
	}
}

// expire sets the sandbox's time-out to zero, so that it pauses on its own, and waits for
// that.
func expire(w *world, sb *sandbox, _ int) (int, func()) {
	end := func() int { return w.call("POST", "/sandboxes/"+sb.id+"/timeout", `{"timeout":0}`, nil) }
	status := end()
	if status == http.StatusNoContent {
		for w.state(sb.id) == "running" {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return status, func() {
		sb.may = []string{"paused"}
		if status == http.StatusNoContent {
			return // it was promised, so check will look for it
		}
		if status := end(); status/100 == 5 || status == 0 {
			w.fail("the time of %s cannot be ended: status %d", sb.id, status)
		}
	}
}

// forget is a pause that keeps only the disk.
func forget(w *world, sb *sandbox, number int) (int, func()) {
	status, settle := transition("POST", "/pause", `{"memory":false}`, http.StatusNoContent, "paused",
		"running")(w, sb, number)
	return status, func() {
		settle()
		sb.forgot, sb.doubt = status == http.StatusNoContent, status != http.StatusNoContent
	}
}

// wake sends traffic to a paused sandbox.
func wake(w *world, sb *sandbox, _ int) (int, func()) {
	ctx, cancel := context.WithTimeout(w.ctx, *patience)
	defer cancel()
	status, _, err := w.v.Envd(ctx, sb.id, w.token(sb.id), "GET", "/health", nil)
	if err != nil {
		status = 0
	}
	return status, func() {
		sb.short = true // a sandbox that traffic has woken does not live long
		sb.may = []string{"running"}
		if status != http.StatusNoContent {
			sb.may = append(sb.may, "paused")
		}
	}
}

func connect(w *world, sb *sandbox, _ int) (int, func()) {
	status := w.call("POST", "/sandboxes/"+sb.id+"/connect", `{"timeout":3600}`, nil)
	return status, func() {
		if was := sb.may[0]; status/100 == 2 {
			sb.may = []string{"running"}
		} else {
			sb.may = []string{"running", was}
		}
	}
}

// named is the name that replaceSnapshot uses.
const named = "chaos"

// replaceSnapshot gives the name of an older snapshot to a new one.
func replaceSnapshot(w *world, sb *sandbox, _ int) (int, func()) {
	status := w.call("POST", "/sandboxes/"+sb.id+"/snapshots", fmt.Sprintf(`{"name":%q}`, named), nil)
	return status, func() {
		if status == http.StatusCreated && !w.renamed {
			w.named = []string{sb.mark}
		} else { // not answered, or concurrent with another that may have come later
			w.named = append(w.named, sb.mark)
		}
		w.renamed = true
	}
}

func takeSnapshot(w *world, sb *sandbox, _ int) (int, func()) {
	var made struct{ SnapshotID string }
	status := w.call("POST", "/sandboxes/"+sb.id+"/snapshots", `{}`, &made)
	return status, func() {
		if status == http.StatusCreated {
			w.snapshots = append(w.snapshots, snapshot{made.SnapshotID, sb.mark, sb.ruled})
		}
	}
}

func fork(w *world, sb *sandbox, _ int) (int, func()) {
	var made []struct{ Sandbox struct{ SandboxID string } }
	status := w.call("POST", "/sandboxes/"+sb.id+"/fork", `{"count":2,"timeout":3600}`, &made)
	return status, func() {
		if status != http.StatusCreated {
			return // any number of them may exist
		}
		for _, f := range made {
			if f.Sandbox.SandboxID == "" {
				continue // it failed on its own, as the answer says
			}
			w.sandboxes = append(w.sandboxes, &sandbox{id: f.Sandbox.SandboxID, mark: sb.mark,
				may: []string{"running"}, ruled: sb.ruled})
		}
	}
}

// copyOf starts a sandbox from a snapshot.
func copyOf(w *world, _ *sandbox, _ int) (int, func()) {
	return w.copyFrom(w.snapshots[w.round%len(w.snapshots)])
}

func (w *world) copyFrom(snap snapshot) (int, func()) {
	policy := ""
	if snap.ruled { // there is a badger in its memory
		policy = "," + onlyName
	}
	var made struct{ SandboxID string }
	status := w.call("POST", "/v2/sandboxes", fmt.Sprintf(`{"templateID":%q,%s,"metadata":{"mark":%q}%s}`,
		snap.id, lifecycle, snap.mark, policy), &made)
	return status, func() {
		switch status {
		case http.StatusCreated:
			w.sandboxes = append(w.sandboxes, &sandbox{id: made.SandboxID, mark: snap.mark,
				may: []string{"running"}, ruled: snap.ruled})
		case http.StatusNotFound:
			w.fail("snapshot %s is lost", snap.id)
		}
	}
}

// course is what has happened so far to the operations of one name.
type course struct {
	answered, refused, cut int
	typical                time.Duration // of the answered ones
}

// note records how long an operation takes, so that kills happen during it.
func (c *course) note(status int, took time.Duration) {
	switch {
	case status == 0:
		c.cut++
		return
	case status/100 != 2:
		c.refused++
		return
	}
	c.answered++
	c.typical += (took - c.typical) / 4
}

func (c *course) String() string {
	return fmt.Sprintf("%d answered (%s), %d refused, %d cut off", c.answered,
		c.typical.Round(time.Millisecond), c.refused, c.cut)
}
