package chaos

import (
	"fmt"
	"net/http"
	"strings"
)

// told is an event as clients list it.
type told struct {
	ID, Type, SandboxID string
	SandboxEventNumber  int
}

// events returns all events of a list, oldest first. It fails if one is there twice.
func (w *world) events(path string) []told {
	const page = 100
	var all []told
	seen := map[string]bool{}
	for {
		var list []told
		query := fmt.Sprintf("%s?orderAsc=true&limit=%d&offset=%d", path, page, len(all))
		if !poll(func() bool { return w.call("GET", query, "", &list) == http.StatusOK }) {
			w.fail("the events were not answered")
		}
		for _, e := range list {
			if seen[e.ID] {
				w.fail("event %+v is there twice", e)
			}
			seen[e.ID] = true
		}
		if all = append(all, list...); len(list) < page {
			return all
		}
	}
}

// follow returns the state that the events of a sandbox lead to, or why they cannot be all that
// have happened, in their order.
func follow(list []told) (state string, err error) {
	state = "none"
	for i, e := range list {
		if e.SandboxEventNumber != i+1 {
			return "", fmt.Errorf("event %d of %s has number %d: %v", i+1, e.SandboxID, e.SandboxEventNumber, list)
		}
		what := strings.TrimPrefix(e.Type, "sandbox.lifecycle.")
		switch from := state + " " + what; from {
		case "none created", "paused resumed":
			state = "running"
		case "running paused":
			state = "paused"
		case "running killed", "paused killed":
			state = "gone"
		case "running updated", "running checkpointed":
		default:
			return "", fmt.Errorf("%s was %s and then %s: %v", e.SandboxID, state, what, list)
		}
	}
	return state, nil
}

// checkEvents waits until the events of a sandbox lead to its state. That they come late is no
// fault; that one is missing, or comes before another, is one.
func (w *world) checkEvents(id, state string) {
	var have string
	var list []told
	if !poll(func() bool {
		list = w.events("/events/sandboxes/" + id)
		var err error
		if have, err = follow(list); err != nil {
			w.fail("%v", err)
		}
		return have == state
	}) {
		w.fail("%s is %s, and by its events %s: %v", id, state, have, list)
	}
}

// checkAllEvents does so for all sandboxes that there ever were: those that are not there any
// more have ended.
func (w *world) checkAllEvents() {
	alive := map[string]bool{}
	for _, sb := range w.sandboxes {
		alive[sb.id] = true
	}
	var problem string
	var counted, sandboxes int
	if !poll(func() bool {
		courses := map[string][]told{}
		list := w.events("/events/sandboxes")
		for _, e := range list {
			courses[e.SandboxID] = append(courses[e.SandboxID], e)
		}
		problem, counted, sandboxes = "", len(list), len(courses)
		for id, c := range courses {
			state, err := follow(c)
			if err != nil {
				w.fail("%v", err)
			}
			if (state == "gone") == alive[id] {
				problem = fmt.Sprintf("%s is alive: %v; by its events it is %s: %v", id, alive[id], state, c)
			}
		}
		for id := range alive {
			if courses[id] == nil {
				problem = id + " has no events"
			}
		}
		return problem == ""
	}) {
		w.fail("%s", problem)
	}
	w.t.Logf("%d events of %d sandboxes: none lost, none out of order, none twice", counted, sandboxes)
}
