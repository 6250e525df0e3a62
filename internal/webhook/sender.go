// Package webhook sends events to the addresses that teams have given: at least once each, those
// of a sandbox in their order, and to none slower because another is slow.
package webhook

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/outbound"
	"shoal/internal/shares"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

const (
	// pollTime is how often Run looks for deliveries that others have opened, or whose time has
	// come.
	pollTime = 5 * time.Second
	// tidyTime is how often it gives up and removes old ones.
	tidyTime = time.Minute
	// claimTime is for how long nobody else tries a delivery. If this process ends, somebody
	// does after it.
	claimTime = 30 * time.Second
	// atOnce is how many deliveries of a webhook are tried at once, of different sandboxes; of
	// one that has just failed, a single one.
	atOnce = 8
	// lanesAtOnce is how many webhooks are served at once, and lanesOfTeam how many of a team.
	lanesAtOnce = 512
	lanesOfTeam = 32
	// A delivery that failed is tried again after firstDelay, then twice as long each time until
	// lastDelay, each a little more or less.
	firstDelay = 5 * time.Second
	lastDelay  = time.Hour
	// A webhook that failed is left alone for a while, at most for maxSilence.
	firstSilence = time.Second
	maxSilence   = time.Minute
	// offTime is how often it is looked whether a webhook that is switched off is on again.
	offTime = 15 * time.Second
)

// Sender sends deliveries while Run is running. Several, in different processes, may share a
// store.
type Sender struct {
	// Off reports whether webhooks are switched off for a team: then its deliveries wait. Nil is
	// for none. It is set before Run.
	Off func(ctx context.Context, teamID string) (bool, error)

	store  *store.Store
	client *http.Client
	check  func(*url.URL) error
	log    *slog.Logger
	name   string // tells this process from others
	wake   chan struct{}
	lanes  shares.Shares[string] // by team
	// delay, firstSilence and offTime are those below; tests have no time for them.
	delay                 func(attempts int) time.Duration
	firstSilence, offTime time.Duration

	mu    sync.Mutex           // guards hooks; a leaf
	hooks map[string]*receiver // by the ID of the webhook
}

// receiver is what is known of a webhook's receiver.
type receiver struct {
	served  bool // a lane is open
	failed  int  // attempts in a row
	quietTo time.Time
}

// New returns a sender that reaches what out lets it reach.
func New(st *store.Store, out outbound.Config, log *slog.Logger) (*Sender, error) {
	transport, err := outbound.NewTransport(out)
	if err != nil {
		return nil, err
	}
	s := &Sender{store: st, log: log, name: shoal.NewDeliveryID(), wake: make(chan struct{}, 1),
		check: transport.CheckURL, hooks: map[string]*receiver{}, delay: delay, firstSilence: firstSilence, offTime: offTime,
		lanes: shares.Shares[string]{All: lanesAtOnce, Each: lanesOfTeam}}
	s.client = &http.Client{Transport: transport,
		// A redirect is an answer that is not 2xx.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s, nil
}

// CheckURL returns an error for an address that would be refused, as far as its name says so.
func (s *Sender) CheckURL(u *url.URL) error { return s.check(u) }

// News tells Run that there are new deliveries.
func (s *Sender) News() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends. What is under way then is tried again by the next.
func (s *Sender) Run(ctx context.Context) error {
	var lanes errgroup.Group
	poll, tidy := time.NewTicker(pollTime), time.NewTicker(tidyTime)
	defer poll.Stop()
	defer tidy.Stop()
	for {
		s.open(ctx, &lanes)
		select {
		case <-ctx.Done():
			err := lanes.Wait()
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryTime)
			defer cancel()
			return errors.Join(err, s.store.ReleaseDeliveries(release, s.name))
		case <-poll.C:
		case <-s.wake:
		case <-tidy.C:
			if err := s.tidy(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Warn("old deliveries cannot be removed", "error", err)
			}
		}
	}
}

// open opens a lane for each webhook that has something to be sent and has none.
func (s *Sender) open(ctx context.Context, lanes *errgroup.Group) {
	due, err := s.store.DueWebhooks(ctx, time.Now())
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("cannot look for deliveries to webhooks", "error", err)
		}
		return
	}
	for _, hook := range due {
		if !s.lanes.Take(hook.TeamID, 1) {
			continue // the next poll sees it again
		}
		if !s.begin(hook.ID) {
			s.lanes.Give(hook.TeamID, 1)
			continue
		}
		lanes.Go(func() error {
			defer s.lanes.Give(hook.TeamID, 1)
			again := s.serve(ctx, hook.ID)
			s.end(hook.ID)
			if again {
				s.News() // somebody else may wait for the place
			}
			return nil
		})
	}
}

// begin reports whether a webhook is to be served now, and by the caller.
func (s *Sender) begin(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.hooks[id]
	if r == nil {
		r = &receiver{}
		s.hooks[id] = r
	}
	if r.served || time.Now().Before(r.quietTo) {
		return false
	}
	r.served = true
	return true
}

func (s *Sender) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.hooks[id]; r.failed == 0 {
		delete(s.hooks, id)
	} else {
		r.served = false
	}
}

// note remembers how an attempt went, and returns how many in a row had failed before.
func (s *Sender) note(id string, failed bool) (before int, quietTo time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.hooks[id]
	before = r.failed
	if !failed {
		r.failed, r.quietTo = 0, time.Time{}
		return before, r.quietTo
	}
	if time.Now().Before(r.quietTo) {
		return before, r.quietTo // it failed together with another one
	}
	r.failed++
	r.quietTo = time.Now().Add(jitter(double(s.firstSilence, r.failed-1, maxSilence)))
	return before, r.quietTo
}

func (s *Sender) failing(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hooks[id].failed > 0
}

// serve sends what is due to one webhook until nothing is, or until it fails. It reports whether
// it has sent anything.
func (s *Sender) serve(ctx context.Context, id string) (sent bool) {
	for ctx.Err() == nil {
		hook, err := s.store.WebhookToSend(ctx, id)
		if err != nil || !hook.Enabled || s.heldBack(ctx, hook) {
			return sent
		}
		most := atOnce
		if s.failing(id) {
			most = 1
		}
		now := time.Now()
		list, err := s.store.ClaimDeliveries(ctx, id, s.name, now, now.Add(claimTime), most)
		if err != nil {
			s.log.Warn("cannot claim deliveries", "webhook", id, "error", err)
			return sent
		}
		if len(list) == 0 {
			return sent
		}
		sent = true
		var g errgroup.Group
		for _, d := range list {
			g.Go(func() error { return s.deliver(ctx, hook, d) })
		}
		if err := g.Wait(); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("cannot store how a delivery went", "webhook", id, "error", err)
			}
			return sent
		}
		if s.failing(id) {
			return sent
		}
	}
	return sent
}

// heldBack reports whether nothing may be sent for a webhook now. It is looked at again after
// offTime, and others come first meanwhile.
func (s *Sender) heldBack(ctx context.Context, hook shoal.Webhook) bool {
	if s.Off == nil {
		return false
	}
	off, err := s.Off(ctx, hook.TeamID)
	if err == nil && off {
		err = s.store.PostponeDeliveries(ctx, hook.ID, time.Now().Add(s.offTime))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("cannot tell whether webhooks are switched off", "team", hook.TeamID, "error", err)
	}
	return off || err != nil
}

// deliver makes one attempt and stores how it went. An error is of the store.
func (s *Sender) deliver(ctx context.Context, hook shoal.Webhook, d shoal.Delivery) error {
	attempt, err := s.try(ctx, hook, d)
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err()) // the claim runs out
	}
	d.Attempts++
	d.Last, d.Status = attempt, shoal.DeliveryDelivered
	failed := attempt.ErrorClass != ""
	switch {
	case attempt.ErrorClass == classEventGone:
		d.Status, failed = shoal.DeliveryFailed, false // it says nothing about the receiver
	case failed:
		d.Status, d.NextAt = shoal.DeliveryPending, time.Now().Add(s.delay(d.Attempts))
	}
	before, quietTo := s.note(hook.ID, failed)
	// Who takes the delivery over must not find it claimed, so this outlasts the caller.
	ctx = context.WithoutCancel(ctx)
	if err := s.store.EndAttempt(ctx, d, s.name); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	switch {
	case failed && before > 0:
		return s.store.PostponeDeliveries(ctx, hook.ID, quietTo)
	case !failed && before > 2:
		return s.store.HastenDeliveries(ctx, hook.ID, time.Now())
	}
	return nil
}

// tidy gives up what was tried for long enough, and removes what was kept for long enough.
func (s *Sender) tidy(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	maps.DeleteFunc(s.hooks, func(_ string, r *receiver) bool {
		return !r.served && now.After(r.quietTo.Add(10*maxSilence)) // it may be removed
	})
	s.mu.Unlock()
	err := s.store.GiveUpDeliveries(ctx, now.Add(-shoal.WebhookTime), now, classExpired,
		"it was not delivered within "+shoal.WebhookTime.String())
	return errors.Join(err, s.store.DropDeliveries(ctx, now.Add(-shoal.DeliveryRetention), store.MaxDeliveries))
}

// delay is the time until a delivery that failed is tried again.
func delay(attempts int) time.Duration { return jitter(double(firstDelay, attempts-1, lastDelay)) }

// double doubles a time so often, up to a bound.
func double(d time.Duration, times int, most time.Duration) time.Duration {
	for range times {
		if d *= 2; d >= most {
			return most
		}
	}
	return d
}

// jitter is a time that is up to a fifth more or less, so that what failed together is not tried
// together.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}
