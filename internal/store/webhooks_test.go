package store

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func addWebhook(t *testing.T, s *Store, teamID string, types ...shoal.EventType) shoal.Webhook {
	t.Helper()
	if len(types) == 0 {
		types = shoal.EventTypes
	}
	w := shoal.Webhook{ID: shoal.NewWebhookID(), TeamID: teamID, Name: "n", URL: "https://a.example/", Enabled: true,
		Events: types, Secret: "s", CreatedAt: start}
	if err := s.AddWebhook(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWebhooks(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx, team, other := t.Context(), makeTeam(t, s, "alpha").ID, makeTeam(t, s, "beta").ID
		w := addWebhook(t, s, team, shoal.EventCreated, shoal.EventKilled)
		if got, err := s.Webhook(ctx, team, w.ID); err != nil || !reflect.DeepEqual(got, w) {
			t.Errorf("read as %+v, %v", got, err)
		}
		w.Name, w.URL, w.Enabled, w.Secret, w.Events = "m", "http://b", false, "z", []shoal.EventType{shoal.EventPaused}
		if err := s.ChangeWebhook(ctx, w); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Webhook(ctx, team, w.ID); err != nil || !reflect.DeepEqual(got, w) {
			t.Errorf("changed: %+v, %v", got, err)
		}
		listed := w
		listed.Secret = "" // which lists do not have
		if got, err := s.Webhooks(ctx, team); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], listed) {
			t.Errorf("listed: %+v, %v", got, err)
		}
		foreign := w
		foreign.TeamID = other
		for what, err := range map[string]error{
			"get": func() error { _, err := s.Webhook(ctx, other, w.ID); return err }(), "change": s.ChangeWebhook(ctx, foreign),
			"remove": s.RemoveWebhook(ctx, other, w.ID),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s by another team: %v", what, err)
			}
		}
		for range shoal.MaxWebhooks - 1 {
			addWebhook(t, s, team)
		}
		w.ID = shoal.NewWebhookID()
		if err := s.AddWebhook(ctx, w); !errors.Is(err, ErrTooManyWebhooks) {
			t.Errorf("one too many: %v", err)
		}
	})
}

// claim returns what a claimer gets, as "one-1 two-1".
func claim(t *testing.T, s *Store, hook shoal.Webhook, claimer string, now time.Time) (string, []shoal.Delivery) {
	t.Helper()
	got, err := s.ClaimDeliveries(t.Context(), hook.ID, claimer, now, now.Add(time.Minute), 8)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, d := range got {
		ids = append(ids, d.EventID)
	}
	return strings.Join(ids, " "), got
}

func end(t *testing.T, s *Store, d shoal.Delivery, claimer string, status shoal.DeliveryStatus, next time.Time) {
	t.Helper()
	d.Status, d.NextAt = status, next
	d.Last = shoal.Attempt{At: start, Duration: 3 * time.Millisecond, RequestHeaders: map[string]string{"A": "b"},
		ResponseStatus: 500, ResponseHeaders: map[string]string{"C": "d"}, ResponseBody: "é", ErrorClass: "status", ErrorMessage: "m"}
	if err := s.EndAttempt(t.Context(), d, claimer); err != nil {
		t.Fatal(err)
	}
}

// TestDeliveriesInOrder: of a sandbox one delivery goes at a time, in the order of its events; it
// is claimed by one; and what has failed is due again at its time.
func TestDeliveriesInOrder(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha").ID
		hook, idle := addWebhook(t, s, team), addWebhook(t, s, team, shoal.EventPaused)
		addEvents(t, s, 3, anEvent(team, "one", 1, shoal.EventCreated), anEvent(team, "one", 2, shoal.EventUpdated),
			anEvent(team, "two", 1, shoal.EventCreated))
		addEvents(t, s, 1, anEvent(team, "one", 3, shoal.EventKilled))
		now := time.Now().Add(time.Second)
		due, err := s.DueWebhooks(t.Context(), now)
		if err != nil || len(due) != 1 || due[0] != (DueWebhook{ID: hook.ID, TeamID: team}) {
			t.Errorf("due: %+v, %v; idle is %s", due, err, idle.ID)
		}
		first, mine := claim(t, s, hook, "a", now)
		if first != "one-1 two-1" {
			t.Fatalf("claimed: %q", first)
		}
		if again, _ := claim(t, s, hook, "b", now); again != "" {
			t.Errorf("claimed twice: %q", again)
		}
		if due, err := s.DueWebhooks(t.Context(), now); err != nil || len(due) != 0 {
			t.Errorf("due although claimed: %+v, %v", due, err)
		}
		end(t, s, mine[0], "a", shoal.DeliveryPending, now.Add(time.Hour))
		end(t, s, mine[1], "a", shoal.DeliveryDelivered, now)
		if got, _ := claim(t, s, hook, "a", now.Add(time.Minute)); got != "" {
			t.Errorf("claimed before its time: %q", got)
		}
		// The claimer ends without a word, and another takes over.
		if got, _ := claim(t, s, hook, "a", now.Add(time.Hour)); got != "one-1" {
			t.Errorf("at its time: %q", got)
		}
		got, again := claim(t, s, hook, "b", now.Add(2*time.Hour))
		if got != "one-1" {
			t.Fatalf("after its claimer's end: %q", got)
		}
		late := again[0]
		late.Status = shoal.DeliveryDelivered
		if err := s.EndAttempt(t.Context(), late, "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the claimer that was too slow: %v", err)
		}
		for n := int64(1); n <= 3; n++ {
			end(t, s, again[0], "b", shoal.DeliveryDelivered, now)
			got, again = claim(t, s, hook, "b", time.Now().Add(3*time.Hour))
			want := ""
			if n < 3 {
				want = fmt.Sprint("one-", n+1)
			}
			if got != want {
				t.Fatalf("after %d: %q, want %q", n, got, want)
			}
		}
		log, err := s.Deliveries(t.Context(), team, hook.ID, 100, 0)
		if err != nil || len(log) != 4 || log[0].Last.ResponseBody != "é" || log[0].Last.Duration != 3*time.Millisecond ||
			log[0].Last.ResponseHeaders["C"] != "d" || log[0].Last.RequestHeaders["A"] != "b" || log[0].Attempts < 1 {
			t.Errorf("the log: %+v, %v", log, err)
		}
		if left := openCount(t, s, hook); left != 0 {
			t.Errorf("%d count as open", left)
		}
	})
}

func openCount(t *testing.T, s *Store, w shoal.Webhook) (n int) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), `SELECT open_deliveries FROM webhooks WHERE id = $1`, w.ID).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestGiveUp: what was tried for too long ends, and what waited for it goes.
func TestGiveUp(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha").ID
		hook := addWebhook(t, s, team)
		addEvents(t, s, 1, anEvent(team, "one", 1, shoal.EventCreated))
		middle := time.Now()
		time.Sleep(2 * time.Millisecond) // stored at another time
		addEvents(t, s, 1, anEvent(team, "one", 2, shoal.EventKilled))
		if err := s.GiveUpDeliveries(t.Context(), middle, time.Now(), "expired", "too long"); err != nil {
			t.Fatal(err)
		}
		got, left := claim(t, s, hook, "a", time.Now().Add(time.Second))
		if got != "one-2" {
			t.Errorf("after the first was given up: %q", got)
		}
		log, err := s.Deliveries(t.Context(), team, hook.ID, 100, 0)
		if err != nil || len(log) != 2 || log[1].Status != shoal.DeliveryFailed || log[1].Last.ErrorClass != "expired" {
			t.Errorf("%+v, %v", log, err)
		}
		end(t, s, left[0], "a", shoal.DeliveryDelivered, time.Now())
		if n := openCount(t, s, hook); n != 0 {
			t.Errorf("%d count as open", n)
		}
		if err := s.DropDeliveries(t.Context(), time.Now().Add(-time.Hour), 1); err != nil {
			t.Fatal(err)
		}
		if log, err := s.Deliveries(t.Context(), team, hook.ID, 100, 0); err != nil || len(log) != 1 || log[0].EventID != "one-2" {
			t.Errorf("beyond their number: %+v, %v", log, err)
		}
		if err := s.DropDeliveries(t.Context(), time.Now().Add(time.Hour), 100); err != nil {
			t.Fatal(err)
		}
		if log, err := s.Deliveries(t.Context(), team, hook.ID, 100, 0); err != nil || len(log) != 0 {
			t.Errorf("beyond their time: %+v, %v", log, err)
		}
	})
}

// TestAddDelivery: tests and repetitions wait for nothing; a bound lets no more wait.
func TestAddDelivery(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha").ID
		hook := addWebhook(t, s, team)
		addEvents(t, s, 1, anEvent(team, "one", 1, shoal.EventCreated))
		_, first := claim(t, s, hook, "a", time.Now().Add(time.Second))
		if err := s.AddDelivery(t.Context(), first[0].Again(time.Now().UTC())); err != nil {
			t.Fatal(err)
		}
		if got, _ := claim(t, s, hook, "a", time.Now().Add(2*time.Second)); got != "one-1" {
			t.Errorf("the repetition: %q", got)
		}
		if _, err := s.db.ExecContext(t.Context(), `UPDATE webhooks SET open_deliveries = $1`, MaxOpenDeliveries); err != nil {
			t.Fatal(err)
		}
		addEvents(t, s, 1, anEvent(team, "two", 1, shoal.EventCreated))
		log, err := s.Deliveries(t.Context(), team, hook.ID, 1, 0)
		if err != nil || log[0].Status != shoal.DeliveryFailed || log[0].Last.ErrorClass != "overflow" {
			t.Errorf("one too many: %+v, %v", log, err)
		}
		if err := s.RemoveWebhook(t.Context(), team, hook.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.EndAttempt(t.Context(), first[0], "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a delivery of a webhook that was removed: %v", err)
		}
	})
}

// TestPostpone: a receiver that is down is left alone, and tried at once when it is back.
func TestPostpone(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha").ID
		hook := addWebhook(t, s, team)
		addEvents(t, s, 2, anEvent(team, "one", 1, shoal.EventCreated), anEvent(team, "two", 1, shoal.EventCreated))
		now := time.Now().Add(time.Second)
		if err := s.PostponeDeliveries(t.Context(), hook.ID, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, _ := claim(t, s, hook, "a", now); got != "" {
			t.Errorf("postponed, and yet: %q", got)
		}
		if err := s.HastenDeliveries(t.Context(), hook.ID, now); err != nil {
			t.Fatal(err)
		}
		if got, _ := claim(t, s, hook, "a", now); got != "one-1 two-1" {
			t.Errorf("hastened: %q", got)
		}
		if err := s.ReleaseDeliveries(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got, _ := claim(t, s, hook, "b", now); got != "one-1 two-1" {
			t.Errorf("released: %q", got)
		}
	})
}
