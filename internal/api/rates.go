package api

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"shoal/internal/auth"
	"shoal/internal/shares"
	"shoal/internal/shoal"
)

// Limiter holds takers to their rates. shares.Quotas does so in the memory of one process; one that
// several processes share can take its place, and should grant where it cannot tell.
type Limiter interface {
	// Take asks for n more of a taker's rate.
	Take(ctx context.Context, taker string, n int, rate shares.Rate) shares.Allowance
	// Give gives n back that turned out not to count.
	Give(ctx context.Context, taker string, n int, rate shares.Rate)
}

const (
	burstTime  = 10     // seconds of a team's rate that may be taken at once
	maxCallers = 20_000 // takers that are told apart, two of each team
	maxSources = 10_000
)

// strangerRate is of requests without a valid credential from one address. The database is asked for
// each of them.
var strangerRate = shares.Rate{PerSecond: 200, Burst: 2000}

// rates are what requests are counted by.
type rates struct {
	callers      Limiter // by team or user
	strangers    Limiter // by the address that requests without a valid credential come from
	strangerRate shares.Rate
}

// newRates counts in this process's memory if shared is nil.
func newRates(shared Limiter) rates {
	r := rates{callers: shared, strangers: &shares.Quotas{Takers: maxSources}, strangerRate: strangerRate}
	if shared == nil {
		r.callers = &shares.Quotas{Takers: maxCallers}
	}
	return r
}

func rateOf(perSecond int) shares.Rate {
	rate := float64(max(perSecond, 1))
	return shares.Rate{PerSecond: rate, Burst: rate * burstTime}
}

// authenticate finds out who sent a request. Requests without a valid credential are held to
// strangerRate, so that nobody has the database asked without end. A credential that was valid the
// last time is not: somebody else at the address may be the one who floods.
func (s *Server) authenticate(r *http.Request, need access) (auth.Caller, error) {
	asked := need.request(r)
	if s.auth.Knows(asked) {
		return s.auth.Authenticate(r.Context(), asked)
	}
	ctx, source := r.Context(), sourceOf(r)
	if a := s.rates.strangers.Take(ctx, source, 1, s.rates.strangerRate); !a.Granted {
		retryAfter(callOf(ctx).header, a.Wait)
		return auth.Caller{}, shoal.ErrSourceRate.New("Rate limit exceeded")
	}
	caller, err := s.auth.Authenticate(ctx, asked)
	if err == nil || shoal.AsError(err).Status >= http.StatusInternalServerError {
		s.rates.strangers.Give(ctx, source, 1, s.rates.strangerRate)
	}
	return caller, err
}

// sourceOf is whose address a request comes from.
func sourceOf(r *http.Request) string { return shares.SourceOf(shares.AddressOf(r)).String() }

// admitRequest counts a request of a team, or of a user who acts for none, and says in the answer's
// head what is left (api.md §2.6). Operators are not counted.
func (s *Server) admitRequest(ctx context.Context, caller auth.Caller) error {
	taker, rate := "team "+caller.Team.ID, rateOf(caller.Team.Limits.RequestsPerSecond)
	switch {
	case caller.Operator:
		return nil
	case caller.Team.ID == "":
		taker, rate = "user "+caller.User.ID, rateOf(shoal.DefaultTeamLimits().RequestsPerSecond)
	}
	call := callOf(ctx)
	call.limited = true
	if a := s.rates.callers.Take(ctx, taker, 1, rate); !tell(call.header, rate, a) {
		return shoal.ErrRequestRate.New("Rate limit exceeded").Because(
			"The team or user may send %d requests a second, and %d at once", int(rate.PerSecond), int(rate.Burst))
	}
	return nil
}

// admitCreates counts sandboxes that a request is about to start: new ones, copies, and those that it
// brings back. The answer's head speaks of them then.
func (s *Server) admitCreates(ctx context.Context, n int) error {
	call := callOf(ctx)
	if !call.limited {
		return nil
	}
	team := callerOf(ctx).Team
	rate := rateOf(team.Limits.CreatesPerSecond)
	if a := s.rates.callers.Take(ctx, "creates "+team.ID, n, rate); !tell(call.header, rate, a) {
		return shoal.ErrCreateRate.New("Rate limit exceeded").Because(
			"The team may start %d sandboxes a second, and %d at once", int(rate.PerSecond), int(rate.Burst))
	}
	return nil
}

// tell writes into an answer's head what is left of a rate, and reports whether more was granted.
func tell(h http.Header, rate shares.Rate, a shares.Allowance) bool {
	h.Set("RateLimit-Limit", strconv.Itoa(int(rate.Burst)))
	h.Set("RateLimit-Remaining", strconv.Itoa(a.Left))
	h.Set("RateLimit-Reset", seconds(a.Full))
	if !a.Granted {
		retryAfter(h, a.Wait)
	}
	return a.Granted
}

// retryAfter has newer SDKs wait before they repeat a request (clients-2.63.md §2.1).
func retryAfter(h http.Header, wait time.Duration) {
	h.Set("Retry-After", seconds(max(wait, time.Second)))
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
