package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// sandbox is what must be true of a sandbox. Its mark is in its metadata, on its disk and
// in its memory; its forks and copies have the same mark.
type sandbox struct {
	id   string
	mark string
	may  []string // states that it may be in: "running", "paused", "gone"
	// forgot means that its memory was not kept; doubt means that its memory was not kept
	// if it is paused.
	forgot, doubt bool
	// ruled means that it may reach one name alone.
	ruled bool
	// short means that, if it is running, its time ends soon.
	short bool
}

// world is all sandboxes and snapshots that must exist.
type world struct {
	t         *testing.T
	v         *victim
	random    *rand.Rand
	ctx       context.Context
	round     int
	sandboxes []*sandbox
	snapshots []snapshot
	named     []string        // the named snapshot has one of these marks; "" means that there is none
	renamed   bool            // whether replaceSnapshot ran in this round
	marks     map[string]bool // those that have been written
	open      map[string]bool // those of unanswered creates, with whether they are ruled
	outside   *outside
	proxies   int // egress processes that were killed
	ruled     int // checks of sandboxes with rules
	courses   map[string]*course
	lately    []string // the operations of this round, for the message of a failure
}

type snapshot struct {
	id, mark string
	ruled    bool // so must be what is made from it
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	what := fmt.Sprintf("%s, seed %d, round %d (%s): %s", w.t.Name(), *seed, w.round,
		strings.Join(w.lately, "; "), fmt.Sprintf(format, args...))
	failures.Lock()
	failures.lines = append(failures.lines, what)
	failures.Unlock()
	w.t.Fatalf("%s\n--- log of the process\n%s", what, w.v.target.Tail())
}

// call returns status 0 if the request was cut off.
func (w *world) call(method, path, body string, out any) int {
	ctx, cancel := context.WithTimeout(w.ctx, *patience)
	defer cancel()
	status, data, err := w.v.Call(ctx, method, path, body)
	if err != nil {
		return 0
	}
	if out != nil && status/100 == 2 {
		if err := json.Unmarshal(data, out); err != nil {
			return 0
		}
	}
	return status
}

// must makes a request that must succeed.
func (w *world) must(method, path string) {
	if status := w.call(method, path, "", nil); status/100 != 2 {
		w.fail("%s %s: status %d", method, path, status)
	}
}

// unused reports that no sandbox was made from the snapshot.
func (w *world) unused(id string) bool {
	var list []struct{ SandboxID string }
	status := w.call("GET", "/v2/sandboxes?limit=1&state=running,paused&template="+url.QueryEscape(id), "",
		&list)
	return status == http.StatusOK && len(list) == 0
}

// state returns the state of a sandbox: "running", "paused", "gone", or "" if it is unknown
// at the moment.
func (w *world) state(id string) string {
	var detail struct{ State string }
	switch w.call("GET", "/sandboxes/"+id, "", &detail) {
	case http.StatusOK:
		return detail.State
	case http.StatusNotFound:
		return "gone"
	}
	return ""
}

// token returns the sandbox's envd token.
func (w *world) token(id string) string {
	var detail struct{ EnvdAccessToken string }
	w.call("GET", "/sandboxes/"+id, "", &detail)
	return detail.EnvdAccessToken
}

var places = []string{"/home/user/mark", "/dev/shm/mark"} // disk and memory

// write puts the mark into a sandbox.
func (w *world) write(sb *sandbox) {
	token := w.token(sb.id)
	for _, path := range places {
		status, data, err := w.v.Envd(w.ctx, sb.id, token, "POST",
			"/files?username=root&path="+url.QueryEscape(path), bytes.NewBufferString(sb.mark))
		if err != nil || status != http.StatusOK {
			w.fail("writing %s to %s: %d %s %v", path, sb.id, status, data, err)
		}
	}
	w.marks[sb.mark] = true
}

// read checks the mark in a running sandbox.
func (w *world) read(id, mark string) {
	token := w.token(id)
	for _, path := range places {
		if status, got, err := w.readFile(id, token, path); err != nil || status != http.StatusOK ||
			got != mark {
			w.fail("%s has lost %s: %d %q %v; want %q", id, path, status, got, err, mark)
		}
	}
}

// readFile reads a file of a sandbox, and waits while that cannot be reached yet: a microVM that was being written when
// Shoal was killed goes on when it is written.
func (w *world) readFile(id, token, path string) (status int, text string, err error) {
	ctx, cancel := context.WithTimeout(w.ctx, *patience)
	defer cancel()
	poll(func() bool {
		var data []byte
		status, data, err = w.v.Envd(ctx, id, token, "GET", "/files?username=root&path="+url.QueryEscape(path), nil)
		text = string(data)
		return status != http.StatusBadGateway || !strings.Contains(text, "sandbox.unreachable")
	})
	return status, text, err
}

// examine checks a running sandbox, writes again what it was expected to lose, and extends
// its time.
func (w *world) examine(sb *sandbox) {
	if sb.forgot {
		token := w.token(sb.id)
		if status, got, err := w.readFile(sb.id, token, places[0]); err != nil || got != sb.mark {
			w.fail("%s has lost its disk: %d %q %v; want %q", sb.id, status, got, err, sb.mark)
		}
		if status, got, err := w.readFile(sb.id, token, places[1]); err != nil ||
			status != http.StatusNotFound {
			w.fail("%s has memory that was not kept: %d %q %v", sb.id, status, got, err)
		}
		w.write(sb)
		sb.forgot = false
	}
	w.read(sb.id, sb.mark)
	if sb.ruled {
		w.reachesOnlyName(sb)
		w.ruled++
	}
	if sb.short {
		if status := w.call("POST", "/sandboxes/"+sb.id+"/timeout",
			`{"timeout":3600}`, nil); status != http.StatusNoContent {
			w.fail("the time of %s cannot be extended: status %d", sb.id, status)
		}
		sb.short = false
	}
}

// await polls until a sandbox is in one of the states.
func (w *world) await(id string, states []string) string {
	var have string
	if !poll(func() bool { have = w.state(id); return slices.Contains(states, have) }) {
		w.fail("%s is %q, want one of %q", id, have, states)
	}
	return have
}

// poll calls probe until it returns true, and reports whether that was in time.
func poll(probe func() bool) bool {
	for deadline := time.Now().Add(*patience); ; time.Sleep(20 * time.Millisecond) {
		if probe() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// listed returns the metadata of all sandboxes of the team by their IDs. It fails if an ID
// is listed twice.
func (w *world) listed() map[string]string {
	var list []struct {
		SandboxID string
		Metadata  map[string]string
	}
	if !poll(func() bool {
		return w.call("GET", "/v2/sandboxes?limit=100&state=running,paused", "", &list) == http.StatusOK
	}) {
		w.fail("the list of sandboxes was not answered")
	}
	all := map[string]string{}
	for _, l := range list {
		if _, twice := all[l.SandboxID]; twice {
			w.fail("%s is listed twice", l.SandboxID)
		}
		all[l.SandboxID] = l.Metadata["mark"]
	}
	return all
}

// check compares the world with what must be, and settles what was open.
func (w *world) check() {
	var left []*sandbox
	for _, sb := range w.sandboxes {
		state := w.await(sb.id, sb.may)
		w.checkEvents(sb.id, state)
		if state == "gone" {
			continue
		}
		if sb.doubt {
			sb.forgot, sb.doubt = state == "paused", false
		}
		if state == "paused" && w.random.IntN(3) == 0 {
			w.resume(sb)
			state = "running"
		}
		if state == "running" {
			w.examine(sb)
		}
		sb.may = []string{state}
		left = append(left, sb)
	}
	w.sandboxes = left
	w.settle()
	w.checkName()
}

// resume resumes a paused sandbox. A machine that asks for more time is asked again.
func (w *world) resume(sb *sandbox) {
	var status int
	poll(func() bool {
		status = w.call("POST", "/sandboxes/"+sb.id+"/connect", `{"timeout":3600}`, nil)
		return status != http.StatusGatewayTimeout
	})
	if status/100 != 2 {
		w.fail("%s is paused and does not resume: status %d", sb.id, status)
	}
}

// checkName starts a sandbox by the name that was moved to another snapshot.
func (w *world) checkName() {
	if !w.renamed {
		return
	}
	w.renamed = false
	var made struct{ SandboxID, EnvdAccessToken string }
	status := w.call("POST", "/v2/sandboxes", fmt.Sprintf(`{"templateID":%q,%s,%s}`, named, lifecycle, onlyName), &made)
	if status == http.StatusNotFound && slices.Contains(w.named, "") {
		w.named = []string{""}
		return
	}
	if status != http.StatusCreated {
		w.fail("the named snapshot does not start: status %d", status)
	}
	_, mark, err := w.readFile(made.SandboxID, made.EnvdAccessToken, places[0])
	if err != nil || mark == "" || !slices.Contains(w.named, mark) {
		w.fail("the named snapshot has the mark %q (%v), want one of %q", mark, err, w.named)
	}
	w.read(made.SandboxID, mark)
	w.named = []string{mark}
	w.must("DELETE", "/sandboxes/"+made.SandboxID)
}

// settle handles sandboxes whose create, copy or fork was not answered. If the api
// survived, it kills them, because nobody knows of them. If the api died too, they stay and
// must be intact. A sandbox that nobody can have asked for is a failure.
func (w *world) settle() {
	if len(w.v.others) > 0 {
		w.awaitNone()
		return
	}
	for id, mark := range w.unknown() {
		w.await(id, []string{"running"})
		ruled, isOpen := w.open[mark]
		switch {
		case w.marks[mark]:
			w.read(id, mark) // a copy whose request was not answered
		case isOpen:
			delete(w.open, mark)
			w.write(&sandbox{id: id, mark: mark})
		default:
			w.fail("nobody asked for %s with mark %q", id, mark)
		}
		w.sandboxes = append(w.sandboxes, &sandbox{id: id, mark: mark, may: []string{"running"},
			ruled: isOpen && ruled})
	}
}

// awaitNone polls until there are no sandboxes that the world does not know.
func (w *world) awaitNone() {
	var left map[string]string
	if !poll(func() bool { left = w.unknown(); return len(left) == 0 }) {
		w.fail("unanswered sandboxes were not killed: %v", left)
	}
}

// unknown returns the marks of listed sandboxes that the world does not know, by their IDs.
// It fails if one that the world knows is not listed.
func (w *world) unknown() map[string]string {
	list := w.listed()
	for _, sb := range w.sandboxes {
		if _, ok := list[sb.id]; !ok {
			w.fail("%s is not listed", sb.id)
		}
		delete(list, sb.id)
	}
	return list
}
