package shoal

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of webhooks.
const (
	MaxWebhooks      = 20 // of a team
	maxWebhookName   = 128
	maxWebhookURL    = 2048
	MaxWebhookSecret = 256
)

// WebhookTime is how long a delivery is tried, and DeliveryRetention how long its log is kept.
const (
	WebhookTime       = 24 * time.Hour
	DeliveryRetention = 7 * 24 * time.Hour
)

// Webhook is an address that a team has events sent to.
type Webhook struct {
	ID      string
	TeamID  string
	Name    string
	URL     string
	Enabled bool
	Events  []EventType // of these types, without repetition
	// Secret makes the signatures. Nobody is told it.
	Secret    string
	CreatedAt time.Time
}

// Check returns an error from the catalogue if the webhook cannot be as it is. It does not
// look where its name leads: that is seen when it is sent to.
func (w Webhook) Check() error {
	bad := ErrWebhook.New
	u, err := url.Parse(w.URL)
	switch {
	case strings.TrimSpace(w.Name) == "" || utf8.RuneCountInString(w.Name) > maxWebhookName || !printable(w.Name):
		return bad("name must have 1 to %d characters, all of them printable", maxWebhookName)
	case len(w.URL) > maxWebhookURL:
		return bad("url has %d bytes; at most %d are allowed", len(w.URL), maxWebhookURL)
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return bad("url must be http:// or https://, a host, and a path if need be")
	case u.User != nil:
		return bad("url must not have a user or a password; the signature shows who sends")
	case u.Fragment != "":
		return bad("url must not have a fragment")
	case w.Secret == "" || len(w.Secret) > MaxWebhookSecret || !utf8.ValidString(w.Secret) ||
		strings.ContainsRune(w.Secret, 0):
		return bad("signatureSecret must have 1 to %d bytes of text", MaxWebhookSecret)
	case len(w.Events) == 0:
		return bad("events must name at least one type")
	}
	for i, t := range w.Events {
		if !slices.Contains(EventTypes, t) {
			return bad("events: %.64q is no type of events", string(t))
		}
		if slices.Contains(w.Events[:i], t) {
			return bad("events: %q is there twice", string(t))
		}
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Wants reports whether events of a type are to be sent there.
func (w Webhook) Wants(t EventType) bool { return w.Enabled && slices.Contains(w.Events, t) }

// DeliveryStatus is what has become of a delivery.
type DeliveryStatus string

const (
	// DeliveryWaiting is of one that an earlier one of its sandbox goes before.
	DeliveryWaiting   DeliveryStatus = "waiting"
	DeliveryPending   DeliveryStatus = "pending" // it is, or will be, tried
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryFailed    DeliveryStatus = "failed" // it was given up
)

// Delivery is one event on its way to one webhook, or arrived there.
type Delivery struct {
	ID        string
	WebhookID string
	TeamID    string
	EventID   string
	EventType EventType
	SandboxID string // "" of a test
	Number    int64  // of the event
	Status    DeliveryStatus
	Attempts  int
	CreatedAt time.Time
	NextAt    time.Time // when a pending one is tried
	// Test is the body of a delivery that tells of no event.
	Test string
	Last Attempt
}

// Attempt is how an attempt at a delivery went.
type Attempt struct {
	At              time.Time // zero if there was none
	Duration        time.Duration
	RequestHeaders  map[string]string
	ResponseStatus  int // 0 without an answer
	ResponseHeaders map[string]string
	ResponseBody    string // cut
	ErrorClass      string // "" if it went well
	ErrorMessage    string
}

// NewTestDelivery is a delivery that tells of no event.
func NewTestDelivery(w Webhook, t EventType, now time.Time) Delivery {
	e := Event{ID: NewEventID(), Type: t, Time: now.Truncate(time.Microsecond), TeamID: w.TeamID,
		Data: `{"test":true}`}
	body, _ := json.Marshal(e.Wire()) // its data is an object
	d := Delivery{ID: NewDeliveryID(), WebhookID: w.ID, TeamID: w.TeamID, EventType: t, Test: string(body)}
	return d.begun(now)
}

// Again is another delivery of the same event.
func (d Delivery) Again(now time.Time) Delivery {
	next := Delivery{ID: NewDeliveryID(), WebhookID: d.WebhookID, TeamID: d.TeamID, EventID: d.EventID,
		EventType: d.EventType, SandboxID: d.SandboxID, Number: d.Number, Test: d.Test}
	return next.begun(now)
}

func (d Delivery) begun(now time.Time) Delivery {
	now = now.Truncate(time.Microsecond)
	d.Status, d.CreatedAt, d.NextAt = DeliveryPending, now, now
	return d
}
