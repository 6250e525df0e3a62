package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/outbound"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

const team = "team"

// world is a store, with senders that may reach this machine.
type world struct {
	t     *testing.T
	store *store.Store
	path  string
	off   func(ctx context.Context, teamID string) (bool, error) // of senders from then on
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "shoal.db")}
	w.store = w.open()
	w.must(w.store.CreateTeam(t.Context(), shoal.Team{ID: team, Slug: team, Limits: shoal.DefaultTeamLimits()}))
	return w
}

func (w *world) open() *store.Store {
	w.t.Helper()
	st, err := store.Open(w.t.Context(), w.path)
	w.must(err)
	w.t.Cleanup(func() { st.Close() })
	return st
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// send runs a sender until the test ends; what failed is tried again after some milliseconds.
func (w *world) send(st *store.Store, allow ...string) *Sender {
	w.t.Helper()
	s, err := New(st, outbound.Config{Allow: allow}, slog.New(slog.DiscardHandler))
	w.must(err)
	s.delay = func(int) time.Duration { return 5 * time.Millisecond }
	s.firstSilence, s.offTime = time.Millisecond, time.Millisecond
	s.Off = w.off
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	tick := time.NewTicker(10 * time.Millisecond) // as if there were news
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.News()
			}
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	return s
}

func (w *world) hook(target string) shoal.Webhook {
	w.t.Helper()
	h := shoal.Webhook{ID: shoal.NewWebhookID(), TeamID: team, Name: "n", URL: target, Enabled: true,
		Events: shoal.EventTypes, Secret: "geheim", CreatedAt: time.Now().UTC()}
	w.must(h.Check())
	w.must(w.store.AddWebhook(w.t.Context(), h))
	return h
}

// happen stores n events of a sandbox.
func (w *world) happen(sandboxID string, n int) {
	w.t.Helper()
	for i := range n {
		e := shoal.NewEvent(shoal.EventUpdated, shoal.Sandbox{Spec: shoal.Spec{SandboxID: sandboxID, TeamID: team,
			Metadata: map[string]string{"a": "b"}}}, time.Now().UTC().Truncate(time.Microsecond), shoal.EventData{})
		e.Number = int64(i + 1)
		_, err := w.store.AddEvents(w.t.Context(), []shoal.Event{e})
		w.must(err)
	}
}

// settled waits until as many deliveries of a webhook have a status.
func (w *world) settled(h shoal.Webhook, status shoal.DeliveryStatus, want int) []shoal.Delivery {
	w.t.Helper()
	var log []shoal.Delivery
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var err error
		log, err = w.store.Deliveries(w.t.Context(), team, h.ID, 1000, 0)
		w.must(err)
		n := 0
		for _, d := range log {
			if d.Status == status {
				n++
			}
		}
		if n == want {
			return log
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d deliveries are %s, want %d: %+v", n, status, want, log)
		}
	}
}

// received is what a receiver was sent, and took.
type received struct {
	mu   sync.Mutex
	list []arrival
}

type arrival struct {
	head  http.Header
	body  []byte
	event shoal.EventWire
}

func (r *received) note(req *http.Request) arrival {
	body, _ := io.ReadAll(req.Body)
	a := arrival{head: req.Header, body: body}
	_ = json.Unmarshal(body, &a.event)
	return a
}

func (r *received) take(a arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, a)
}

// numbers are of the events of a sandbox in the order in which they were taken.
func (r *received) numbers(sandboxID string) (list []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.list {
		if a.event.SandboxID == sandboxID {
			list = append(list, a.event.Number)
		}
	}
	return list
}

// receive starts a receiver that takes all, unless refuse answers otherwise.
func receive(t *testing.T, refuse func(http.ResponseWriter, *http.Request, arrival) bool) (*received, string) {
	t.Helper()
	r := &received{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		a := r.note(req)
		if refuse != nil && refuse(w, req, a) {
			return
		}
		r.take(a)
		w.Header().Set("X-Answer", "yes")
		fmt.Fprint(w, "taken")
	}))
	t.Cleanup(srv.Close)
	return r, srv.URL
}

// TestDelivery: what arrives is the event as clients list it, signed as runtime.md §6.4 has it.
func TestDelivery(t *testing.T) {
	w := newWorld(t)
	got, target := receive(t, nil)
	h := w.hook(target + "/path?x=1")
	w.send(w.store, "127.0.0.0/8")
	w.happen("one", 3)
	log := w.settled(h, shoal.DeliveryDelivered, 3)
	if !slices.Equal(got.numbers("one"), []int64{1, 2, 3}) {
		t.Fatalf("arrived: %v", got.numbers("one"))
	}
	stored, err := w.store.Events(t.Context(), store.EventQuery{TeamID: team, OldestFirst: true, Limit: 10})
	w.must(err)
	for i, a := range got.list {
		want, err := json.Marshal(stored[i].Wire())
		w.must(err)
		sum := sha256.Sum256(append([]byte("geheim"), a.body...))
		if !bytes.Equal(a.body, want) ||
			a.head.Get("e2b-signature") != strings.TrimRight(base64.URLEncoding.EncodeToString(sum[:]), "=") ||
			a.head.Get("e2b-signature-version") != "v1" || a.head.Get("e2b-webhook-id") != h.ID ||
			a.head.Get("e2b-delivery-id") != log[2-i].ID || a.head.Get("Content-Type") != "application/json" {
			t.Errorf("arrived: %v %s, want %s", a.head, a.body, want)
		}
	}
	last := log[0].Last
	if last.ResponseStatus != 200 || last.ResponseBody != "taken" || last.ResponseHeaders["X-Answer"] != "yes" ||
		last.ErrorClass != "" || last.RequestHeaders["e2b-webhook-id"] != h.ID || log[0].Attempts != 1 {
		t.Errorf("the log: %+v", log[0])
	}
	for name := range last.RequestHeaders {
		if strings.Contains(strings.ToLower(name), "e2b-signature") && name != "e2b-signature-version" {
			t.Error("the log has the signature")
		}
	}
}

// TestOrderThroughFailures: a receiver that fails at random gets every event, those of a sandbox
// in their order, and one that it has not taken again under the same delivery ID.
func TestOrderThroughFailures(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	calls, ids := 0, map[string]string{} // event to delivery
	got, target := receive(t, func(rw http.ResponseWriter, req *http.Request, a arrival) bool {
		mu.Lock()
		calls++
		n := calls
		if before, ok := ids[a.event.ID]; ok && before != req.Header.Get("e2b-delivery-id") {
			t.Errorf("event %s came by two deliveries", a.event.ID)
		}
		ids[a.event.ID] = req.Header.Get("e2b-delivery-id")
		mu.Unlock()
		switch n % 4 {
		case 0:
			rw.WriteHeader(http.StatusInternalServerError)
		case 1:
			panic(http.ErrAbortHandler) // the connection breaks off
		case 2:
			rw.WriteHeader(http.StatusNotFound)
		default:
			return false
		}
		return true
	})
	h := w.hook(target)
	w.happen("one", 5)
	w.send(w.store, "127.0.0.0/8")
	w.happen("two", 5)
	w.settled(h, shoal.DeliveryDelivered, 10)
	for _, sandbox := range []string{"one", "two"} {
		if !slices.Equal(got.numbers(sandbox), []int64{1, 2, 3, 4, 5}) {
			t.Errorf("%s arrived as %v", sandbox, got.numbers(sandbox))
		}
	}
	if calls <= 10 {
		t.Error("the receiver never failed")
	}
}

// TestSlowReceiver: one that never answers holds up nobody else.
func TestSlowReceiver(t *testing.T) {
	w := newWorld(t)
	let := make(chan struct{})
	_, slow := receive(t, func(http.ResponseWriter, *http.Request, arrival) bool {
		<-let
		return false
	})
	t.Cleanup(func() { close(let) }) // before the receiver is closed
	quick, target := receive(t, nil)
	for range 5 {
		w.hook(slow)
	}
	h := w.hook(target)
	w.send(w.store, "127.0.0.0/8")
	begin := time.Now()
	for i := range 20 {
		w.happen(fmt.Sprint("s", i), 2)
	}
	w.settled(h, shoal.DeliveryDelivered, 40)
	if took := time.Since(begin); took > tryTime/2 {
		t.Errorf("it took %s", took)
	}
	if len(quick.list) != 40 {
		t.Errorf("%d arrived", len(quick.list))
	}
}

// TestRefusedTargets: without the operator's leave nothing internal is reached, not by a name,
// and not by a redirect, which is not followed anyway.
func TestRefusedTargets(t *testing.T) {
	inner, target := receive(t, nil)
	for _, address := range []string{target, strings.Replace(target, "127.0.0.1", "localhost", 1), "http://10.0.0.1/",
		"http://169.254.169.254/latest"} {
		w := newWorld(t)
		h := w.hook(address)
		s := w.send(w.store)
		w.happen("s"+h.ID, 1)
		w.attempted(h, classRefused)
		u, err := url.Parse(address)
		w.must(err)
		if err := s.CheckURL(u); !shoal.ErrOutboundRefused.Matches(err) {
			t.Errorf("%s: %v", address, err)
		}
	}
	_, redirecting := receive(t, func(rw http.ResponseWriter, req *http.Request, _ arrival) bool {
		http.Redirect(rw, req, target, http.StatusTemporaryRedirect)
		return true
	})
	w := newWorld(t)
	h := w.hook(redirecting)
	w.send(w.store, strings.TrimPrefix(redirecting, "http://"))
	w.happen("redirected", 1)
	if last := w.attempted(h, classStatus); last.ResponseStatus != http.StatusTemporaryRedirect ||
		!strings.Contains(last.ErrorMessage, "redirects are not followed") {
		t.Errorf("a redirect: %+v", last)
	}
	if len(inner.list) != 0 {
		t.Errorf("the internal server was sent %+v", inner.list)
	}
}

// attempted waits until a delivery of a webhook has failed in a way.
func (w *world) attempted(h shoal.Webhook, class string) shoal.Attempt {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		log, err := w.store.Deliveries(w.t.Context(), team, h.ID, 10, 0)
		w.must(err)
		log = slices.DeleteFunc(log, func(d shoal.Delivery) bool { return d.Attempts == 0 })
		if len(log) > 0 {
			if last := log[0].Last; last.ErrorClass != class || strings.Contains(last.ErrorMessage, "127.0.0.1") {
				w.t.Errorf("it failed as %+v, want %s", last, class)
			}
			if log[0].Status != shoal.DeliveryPending {
				w.t.Errorf("it is %s", log[0].Status)
			}
			return log[0].Last
		}
		if time.Now().After(deadline) {
			w.t.Fatal("it was not tried")
		}
	}
}

// TestTwoSenders: two apis on one store send each event once.
func TestTwoSenders(t *testing.T) {
	w := newWorld(t)
	got, target := receive(t, nil)
	h := w.hook(target)
	w.send(w.store, "127.0.0.0/8")
	w.send(w.open(), "127.0.0.0/8")
	for i := range 10 {
		w.happen(fmt.Sprint("s", i), 5)
	}
	w.settled(h, shoal.DeliveryDelivered, 50)
	if len(got.list) != 50 {
		t.Errorf("%d arrived, want 50", len(got.list))
	}
	for i := range 10 {
		if n := got.numbers(fmt.Sprint("s", i)); !slices.Equal(n, []int64{1, 2, 3, 4, 5}) {
			t.Errorf("s%d arrived as %v", i, n)
		}
	}
}

// TestGivenUp: what cannot be delivered within its time ends, and so does what has no event.
func TestGivenUp(t *testing.T) {
	w := newWorld(t)
	_, target := receive(t, func(rw http.ResponseWriter, _ *http.Request, _ arrival) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	h := w.hook(target)
	s := w.send(w.store, "127.0.0.0/8")
	w.happen("one", 2)
	w.attempted(h, classStatus)
	w.must(s.tidy(t.Context(), time.Now().Add(shoal.WebhookTime-time.Minute)))
	if log := w.settled(h, shoal.DeliveryFailed, 0); len(log) != 2 {
		t.Errorf("given up early: %+v", log)
	}
	for range 100 { // one that is being tried is left for the next time
		w.must(s.tidy(t.Context(), time.Now().Add(shoal.WebhookTime+time.Minute)))
		log, err := w.store.Deliveries(t.Context(), team, h.ID, 10, 0)
		w.must(err)
		if !slices.ContainsFunc(log, func(d shoal.Delivery) bool { return d.Status != shoal.DeliveryFailed }) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	log := w.settled(h, shoal.DeliveryFailed, 2)
	if log[0].Last.ErrorClass != classExpired {
		t.Errorf("%+v", log[0])
	}
	gone := log[0].Again(time.Now().UTC())
	gone.EventID = "removed"
	w.must(w.store.AddDelivery(t.Context(), gone))
	w.settled(h, shoal.DeliveryFailed, 3)
	d, err := w.store.Delivery(t.Context(), team, h.ID, gone.ID)
	if err != nil || d.Last.ErrorClass != classEventGone {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestDisabled: nothing is sent to a webhook that is disabled, and what waits goes when it is
// enabled again.
func TestDisabled(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	fail := true
	got, target := receive(t, func(rw http.ResponseWriter, _ *http.Request, _ arrival) bool {
		mu.Lock()
		defer mu.Unlock()
		if fail {
			rw.WriteHeader(http.StatusBadGateway)
		}
		return fail
	})
	h := w.hook(target)
	w.send(w.store, "127.0.0.0/8")
	w.happen("one", 1)
	w.attempted(h, classStatus)
	h.Enabled = false
	w.must(w.store.ChangeWebhook(t.Context(), h))
	mu.Lock()
	fail = false
	mu.Unlock()
	w.happen("two", 1)
	h.Enabled = true
	w.must(w.store.ChangeWebhook(t.Context(), h))
	w.settled(h, shoal.DeliveryDelivered, 1)
	if n := got.numbers("two"); len(n) != 0 {
		t.Errorf("an event that happened while the webhook was disabled was sent: %v", n)
	}
}

// TestLargeAnswers: of an answer little is kept, whatever it has.
func TestLargeAnswers(t *testing.T) {
	w := newWorld(t)
	_, target := receive(t, func(rw http.ResponseWriter, _ *http.Request, _ arrival) bool {
		for i := range 50 {
			rw.Header().Set(fmt.Sprint("X-", i), strings.Repeat("h", 500))
		}
		_, _ = rw.Write(bytes.Repeat([]byte("b\x00\xff"), 100_000))
		return true
	})
	h := w.hook(target)
	w.send(w.store, "127.0.0.0/8")
	w.happen("one", 1)
	last := w.settled(h, shoal.DeliveryDelivered, 1)[0].Last
	head := 0
	for name, value := range last.ResponseHeaders {
		head += len(name) + len(value)
	}
	if n := len(last.ResponseBody); n == 0 || n > 4*maxAnswer || strings.ContainsRune(last.ResponseBody, 0) || head > maxAnswer {
		t.Errorf("%d bytes of the body, %d of the head", n, head)
	}
}

func TestDelays(t *testing.T) {
	total := time.Duration(0)
	for n := 1; total < shoal.WebhookTime; n++ {
		d := delay(n)
		if want := double(firstDelay, n-1, lastDelay); d < want-want/5 || d > want+want/5 {
			t.Errorf("delay %d is %s, about %s is wanted", n, d, want)
		}
		if total += d; n > 60 {
			t.Fatal("it is tried too often")
		}
	}
	if delay(1) > 10*time.Second || delay(1000) > lastDelay+lastDelay/5 {
		t.Error("the first or the last delay")
	}
}
