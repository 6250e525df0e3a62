package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// told is an event as clients and webhooks get it.
type told struct {
	ID, Type, SandboxID, SandboxTemplateID string
	SandboxEventNumber                     int
	EventData                              struct {
		Metadata   map[string]string `json:"sandbox_metadata"`
		KillReason string            `json:"kill_reason"`
		SetTimeout string            `json:"set_timeout"`
		Execution  struct {
			Milliseconds int64 `json:"execution_time"`
		}
	}
}

func (e told) what() string { return strings.TrimPrefix(e.Type, "sandbox.lifecycle.") }

// eventsOf returns the events of a sandbox, oldest first.
func (b *box) eventsOf(t *testing.T, sandboxID string) []told {
	t.Helper()
	body := b.demand(t, 200, "GET", "/events/sandboxes/"+sandboxID+"?orderAsc=true&limit=100", "")
	var list []told
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return list
}

func whats(list []told) string {
	var words []string
	for _, e := range list {
		words = append(words, e.what())
	}
	return strings.Join(words, " ")
}

// mailbox is a receiver of webhooks.
type mailbox struct {
	*httptest.Server
	mu   sync.Mutex
	list []told
	bad  []string // deliveries that are not as they must be
}

func newMailbox(t *testing.T, secret string) *mailbox {
	t.Helper()
	m := &mailbox{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sum := sha256.Sum256([]byte(secret + string(body)))
		var e told
		err := json.Unmarshal(body, &e)
		m.mu.Lock()
		defer m.mu.Unlock()
		if err != nil || r.Header.Get("e2b-signature") != base64.RawURLEncoding.EncodeToString(sum[:]) ||
			r.Header.Get("e2b-signature-version") != "v1" || r.Header.Get("e2b-delivery-id") == "" {
			m.bad = append(m.bad, fmt.Sprint(r.Header, string(body)))
			return
		}
		m.list = append(m.list, e)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mailbox) of(sandboxID string) (list []told) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.list {
		if e.SandboxID == sandboxID {
			list = append(list, e)
		}
	}
	return list
}

// TestEventsOfTheSDK: what a program does by the official SDK is told in its order, in the list
// and to a webhook, whose signatures verify.
func TestEventsOfTheSDK(t *testing.T) {
	const secret = "a secret of the receiver"
	m := newMailbox(t, secret)
	types := `["sandbox.lifecycle.created","sandbox.lifecycle.paused","sandbox.lifecycle.resumed",` +
		`"sandbox.lifecycle.updated","sandbox.lifecycle.killed","sandbox.lifecycle.checkpointed"]`
	var hook struct{ ID string }
	made := server.demand(t, 201, "POST", "/events/webhooks", fmt.Sprintf(
		`{"name":"e2e","url":%q,"events":%s,"signatureSecret":%q}`, m.URL+"/in", types, secret))
	if err := json.Unmarshal([]byte(made), &hook); err != nil {
		t.Fatal(err)
	}
	defer server.demand(t, 200, "DELETE", "/events/webhooks/"+hook.ID, "")
	server.python(t, `
from e2b import Sandbox
s = Sandbox.create(timeout=60, metadata={"test": "events"})
s.pause()
s = Sandbox.connect(s.sandbox_id, timeout=90)
s.set_timeout(120)
s.create_snapshot()
s.kill()
`)
	var id string
	eventually(t, 20*time.Second, "the webhook hears of the end", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		at := slices.IndexFunc(m.list, func(e told) bool {
			return e.what() == "killed" && e.EventData.Metadata["test"] == "events"
		})
		if at >= 0 {
			id = m.list[at].SandboxID
		}
		return at >= 0
	})
	const want = "created paused resumed updated checkpointed killed"
	listed, sent := server.eventsOf(t, id), m.of(id)
	if whats(listed) != want || whats(sent) != want || len(m.bad) > 0 {
		t.Fatalf("listed: %s; sent: %s; want %s; bad: %v", whats(listed), whats(sent), want, m.bad)
	}
	for i, e := range listed {
		if e.ID != sent[i].ID || e.SandboxEventNumber != i+1 || e.SandboxTemplateID != "base" ||
			e.EventData.Metadata["test"] != "events" {
			t.Errorf("event %d: %+v, sent as %+v", i+1, e, sent[i])
		}
	}
	if last := listed[5].EventData; last.KillReason != "request" || last.Execution.Milliseconds <= 0 || listed[3].EventData.SetTimeout == "" {
		t.Errorf("their data: %+v, %+v", last, listed[3].EventData)
	}
	if out := server.demandOutput(t, "event", "list", "--sandbox", id, "--json"); strings.Count(out, "\n") != 6 ||
		!strings.Contains(out, listed[0].ID) {
		t.Errorf("shoal event list: %s", out)
	}
	if out := server.demandOutput(t, "webhook", "test", hook.ID, "--json"); !strings.Contains(out, `"status":"delivered"`) {
		t.Errorf("shoal webhook test: %s", out)
	}
	if out := server.demandOutput(t, "webhook", "deliveries", hook.ID); strings.Count(out, "delivered") < 7 {
		t.Errorf("shoal webhook deliveries: %s", out)
	}
	if status, body := server.callAs(t, otherTeam(t), "GET", "/events/sandboxes/"+id, ""); status != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("another team: %d %s", status, body)
	}
}

// TestEventsSurvive kills `shoal up` by SIGKILL right after things have happened: the next
// one tells of them, once.
func TestEventsSurvive(t *testing.T) {
	c := server.create(t)
	server.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", `{}`)
	_ = up.Stop(syscall.SIGKILL, 30*time.Second)
	if err := startServer(); err != nil {
		t.Fatal(err)
	}
	server.demand(t, 204, "DELETE", "/sandboxes/"+c.SandboxID, "")
	_ = up.Stop(syscall.SIGKILL, 30*time.Second)
	if err := startServer(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "all of it is told", func() bool {
		return whats(server.eventsOf(t, c.SandboxID)) == "created paused killed"
	})
	for i, e := range server.eventsOf(t, c.SandboxID) {
		if e.SandboxEventNumber != i+1 {
			t.Errorf("event %d has number %d", i+1, e.SandboxEventNumber)
		}
	}
}
