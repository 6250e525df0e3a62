package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// tell stores an event of a team.
func (w *world) tell(teamID, sandboxID string, number int64, kind shoal.EventType) shoal.Event {
	w.t.Helper()
	e := shoal.NewEvent(kind, shoal.Sandbox{Spec: shoal.Spec{SandboxID: sandboxID, TeamID: teamID, TemplateID: "t",
		BuildID: "b", Metadata: map[string]string{"a": "ü"}}, ExecutionID: "e"},
		time.Now().UTC().Add(time.Duration(number)*time.Second-time.Hour).Truncate(time.Microsecond), shoal.EventData{})
	e.Number = number
	_, err := w.store.AddEvents(w.t.Context(), []shoal.Event{e})
	w.must(err)
	return e
}

// numbers are the numbers of the events in an answer.
func (r reply) numbers(t *testing.T) string {
	t.Helper()
	var list []struct{ SandboxEventNumber int }
	r.json(t, &list)
	var words []string
	for _, e := range list {
		words = append(words, fmt.Sprint(e.SandboxEventNumber))
	}
	return strings.Join(words, " ")
}

// TestEvents: lists have the shape of runtime.md §6.4, and nothing of other teams.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	first := w.tell(shoal.DevTeamID, "i1", 1, shoal.EventCreated)
	w.tell(shoal.DevTeamID, "i2", 2, shoal.EventCreated)
	w.tell(shoal.DevTeamID, "i1", 3, shoal.EventKilled)
	w.tell(otherTeam, "i9", 4, shoal.EventCreated)
	for path, want := range map[string]string{
		"/events/sandboxes":                                                               "3 2 1",
		"/events/sandboxes?orderAsc=true":                                                 "1 2 3",
		"/events/sandboxes?limit=1&offset=1":                                              "2",
		"/events/sandboxes?types=sandbox.lifecycle.killed":                                "3",
		"/events/sandboxes?types=sandbox.lifecycle.killed&types=sandbox.lifecycle.paused": "3",
		"/events/sandboxes/i1":                                                            "3 1",
		"/events/sandboxes/i1?orderAsc=true&limit=1":                                      "1",
		"/events/sandboxes/i1-6532622b":                                                   "3 1",
		"/events/sandboxes/i9":                                                            "",
		"/events/sandboxes/iunknown":                                                      "",
		"/events/sandboxes?offset=100000":                                                 "",
	} {
		r := w.call("GET", path, "")
		r.wants(t, 200, "")
		if got := r.numbers(t); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	var list []map[string]any
	w.call("GET", "/events/sandboxes/i1?orderAsc=true", "").json(t, &list)
	want := map[string]any{"version": "v2", "id": first.ID, "type": "sandbox.lifecycle.created",
		"eventData":      map[string]any{"sandbox_metadata": map[string]any{"a": "ü"}},
		"sandboxBuildId": "b", "sandboxExecutionId": "e", "sandboxId": "i1", "sandboxTeamId": shoal.DevTeamID,
		"sandboxTemplateId": "t", "timestamp": first.Time.Format(time.RFC3339Nano), "sandboxEventNumber": 1.0}
	if fmt.Sprint(list[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", list[0], want)
	}
	for _, query := range []string{"limit=0", "limit=101", "offset=-1", "offset=100001", "types=other", "orderAsc=x"} {
		w.call("GET", "/events/sandboxes?"+query, "").wants(t, 400, "")
	}
	if got := w.call("GET", "/events/sandboxes", "", "X-API-Key", otherKey).numbers(t); got != "4" {
		t.Errorf("the other team sees %q", got)
	}
	w.call("GET", "/events/sandboxes", "", "X-API-Key", "").wants(t, 401, "")
	var many strings.Builder
	for range 12 {
		fmt.Fprintf(&many, "%s ", w.tell(shoal.DevTeamID, "i3", 5, shoal.EventUpdated).ID)
	}
	w.call("GET", "/events/sandboxes", "").json(t, &list)
	if len(list) != 10 {
		t.Errorf("%d events without a limit, want 10", len(list))
	}
}

const newHook = `{"name":"n","url":"https://a.example/x","events":["sandbox.lifecycle.created"],"signatureSecret":"geheim"}`

// TestWebhooks: made, listed, changed and removed; the secret is never told, and other teams see
// and change nothing.
func TestWebhooks(t *testing.T) {
	w := newWorld(t)
	r := w.call("POST", "/events/webhooks", newHook)
	r.wants(t, 201, "")
	id := r.field(t, "id").(string)
	for _, name := range []string{"teamID", "teamId"} {
		if r.field(t, name) != shoal.DevTeamID {
			t.Errorf("%s is %v", name, r.field(t, name))
		}
	}
	if r.field(t, "enabled") != true || r.field(t, "url") != "https://a.example/x" || r.field(t, "createdAt") == nil {
		t.Errorf("made: %s", r.body)
	}
	path := "/events/webhooks/" + id
	patched := w.call("PATCH", path, `{"enabled":false,"signatureSecret":"anderes"}`)
	patched.wants(t, 200, "")
	list := w.call("GET", "/events/webhooks", "")
	got := w.call("GET", path, "")
	if got.field(t, "enabled") != false || got.field(t, "name") != "n" || "["+strings.TrimSpace(got.body)+"]" != strings.TrimSpace(list.body) {
		t.Errorf("changed: %s, listed: %s", got.body, list.body)
	}
	stored, err := w.store.Webhook(t.Context(), shoal.DevTeamID, id)
	if err != nil || stored.Secret != "anderes" {
		t.Errorf("the new secret is not kept: %v", err)
	}
	for _, answer := range []reply{r, patched, got, list} {
		if strings.Contains(answer.body, "geheim") || strings.Contains(answer.body, "anderes") || strings.Contains(answer.body, "ecret") {
			t.Errorf("an answer tells of the secret: %s", answer.body)
		}
	}
	if strings.Contains(w.log.String(), "geheim") {
		t.Error("the log has the secret")
	}
	for _, c := range [][3]string{{"GET", path, ""}, {"PATCH", path, `{"enabled":true}`}, {"DELETE", path, ""},
		{"POST", path + "/test", ""}, {"GET", path + "/deliveries", ""}, {"POST", path + "/deliveries/x/replay", ""}} {
		w.call(c[0], c[1], c[2], "X-API-Key", otherKey).wants(t, 404, "doesn't exist")
	}
	if list := w.call("GET", "/events/webhooks", "", "X-API-Key", otherKey); strings.TrimSpace(list.body) != "[]" {
		t.Errorf("the other team sees %s", list.body)
	}
	for _, c := range [][2]string{{"GET", "%00"}, {"PATCH", "x%FF"}, {"DELETE", "%00"}} {
		w.call(c[0], "/events/webhooks/"+c[1], "{}").wants(t, 404, "doesn't exist")
	}
	w.call("POST", path+"/deliveries/%00/replay", "").wants(t, 404, "doesn't exist")
	w.call("DELETE", path, "").wants(t, 200, "")
	w.call("DELETE", path, "").wants(t, 404, "")
}

// TestWebhookBounds: what a webhook cannot be is refused, by what is wrong with it.
func TestWebhookBounds(t *testing.T) {
	w := newWorld(t)
	w.server.checkTarget = func(u *url.URL) error {
		if u.Hostname() == "10.0.0.1" {
			return shoal.ErrOutboundRefused.New("no")
		}
		return nil
	}
	body := func(change string, value any) string {
		var m map[string]any
		w.must(json.Unmarshal([]byte(newHook), &m))
		m[change] = value
		data, err := json.Marshal(m)
		w.must(err)
		return string(data)
	}
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"url", "ftp://a.example", "http:// or https://"}, {"url", "https://", "a host"}, {"url", "nonsense", "http:// or https://"},
		{"url", "https://user:pw@a.example", "user or a password"}, {"url", "https://a.example/#x", "fragment"},
		{"url", "https://a.example/" + strings.Repeat("x", 2048), "url"}, {"url", "http://10.0.0.1/", "internal address"},
		{"name", " ", "printable"}, {"name", "a\nb", "printable"}, {"name", strings.Repeat("n", 129), "name"},
		{"events", []string{}, "events"}, {"events", []string{"other"}, "events"},
		{"events", []string{"sandbox.lifecycle.killed", "sandbox.lifecycle.killed"}, "twice"},
		{"signatureSecret", "", "signatureSecret"}, {"signatureSecret", strings.Repeat("s", 257), "signatureSecret"},
	} {
		w.call("POST", "/events/webhooks", body(c.name, c.value)).wants(t, 400, c.want)
	}
	if list := w.call("GET", "/events/webhooks", ""); strings.TrimSpace(list.body) != "[]" {
		t.Errorf("refused, and yet there: %s", list.body)
	}
	for range shoal.MaxWebhooks {
		w.call("POST", "/events/webhooks", newHook).wants(t, 201, "")
	}
	w.call("POST", "/events/webhooks", newHook).wants(t, 429, "maximum number of webhooks")
	w.call("POST", "/events/webhooks", newHook, "X-API-Key", otherKey).wants(t, 201, "")
}

// TestDeliveries: tests and repetitions are opened as deliveries of their own, and listed.
func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	opened := 0
	w.server.deliveries = func() { opened++ }
	id := w.call("POST", "/events/webhooks", newHook).field(t, "id").(string)
	path := "/events/webhooks/" + id
	w.tell(shoal.DevTeamID, "i1", 1, shoal.EventCreated)
	w.tell(shoal.DevTeamID, "i1", 2, shoal.EventKilled) // nobody wants it
	test := w.call("POST", path+"/test", `{"type":"sandbox.lifecycle.paused"}`)
	test.wants(t, 202, "")
	w.call("POST", path+"/test", "").wants(t, 202, "")
	var list []struct{ ID, EventID, EventType, SandboxID, Status string }
	w.call("GET", path+"/deliveries", "").json(t, &list)
	if len(list) != 3 || list[2].SandboxID != "i1" || list[2].EventID == "" || list[1].EventID != "" ||
		list[1].EventType != "sandbox.lifecycle.paused" || list[0].EventType != "sandbox.lifecycle.created" {
		t.Fatalf("listed: %+v", list)
	}
	again := w.call("POST", path+"/deliveries/"+list[2].ID+"/replay", "")
	again.wants(t, 202, "")
	if again.field(t, "id") == list[2].ID || again.field(t, "eventId") != list[2].EventID || opened != 3 {
		t.Errorf("again: %s; %d were opened", again.body, opened)
	}
	w.call("POST", path+"/deliveries/unknown/replay", "").wants(t, 404, "Delivery")
	w.call("PATCH", path, `{"enabled":false}`).wants(t, 200, "")
	w.call("POST", path+"/test", "").wants(t, 409, "disabled")
	w.must(w.store.DropExpiredEvents(t.Context(), time.Now().Add(400*24*time.Hour)))
	w.call("PATCH", path, `{"enabled":true}`).wants(t, 200, "")
	w.call("POST", path+"/deliveries/"+list[2].ID+"/replay", "").wants(t, http.StatusGone, "not kept")
	if !slices.ContainsFunc(list, func(d struct{ ID, EventID, EventType, SandboxID, Status string }) bool {
		return d.Status == "pending"
	}) {
		t.Error("none is pending")
	}
}
