// Package live is what the apis of an installation know together while they run: what rates have left,
// wrong passwords, where sandboxes are, who does what only one need do, and the news they tell each
// other. One api has it in its memory, several in Redis. Nothing of it must outlive them: what must, and
// the limits of teams, are in the store.
package live

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/shares"
)

// State is what apis share. No method waits longer than a fraction of a second, and none fails: an api
// that cannot ask the others goes on by itself, and Degraded says so.
type State interface {
	// Take asks for n more of a taker's rate, and Give gives n back that turned out not to count.
	Take(ctx context.Context, taker string, n int, rate shares.Rate) shares.Allowance
	Give(ctx context.Context, taker string, n int, rate shares.Rate)

	// BeginTry counts a try as wrong, which RightTry takes back. It returns how long to wait if the try
	// may not be made.
	BeginTry(ctx context.Context, counts []Count) (wait time.Duration)
	RightTry(ctx context.Context, counts []Count)

	// Put says which machine a sandbox is on, and Drop that it is on none; both return at once. Find
	// returns what was said, which may be out of date.
	Put(sandboxID, nodeID string)
	Drop(sandboxID string)
	Find(ctx context.Context, sandboxID string) (nodeID string, ok bool)

	// Tell tells the other apis something, and reports whether it was sent.
	Tell(ctx context.Context, news News) bool

	// Lead runs work until ctx ends, or work fails, in no more than one of the apis at a time if they can
	// agree on which, and in all of them otherwise. So two at once must do no harm.
	Lead(ctx context.Context, duty string, work func(context.Context) error) error

	// Run keeps in touch with the other apis until ctx ends.
	Run(ctx context.Context) error
	// Degraded returns why an api is by itself that should not be, or nil.
	Degraded() error
	Meters() []prometheus.Collector
	Close() error
}

// News is what one api tells the others.
type News struct {
	Kind Kind   `json:"kind"`
	Text string `json:"text,omitempty"`
}

// Kind is what news are about.
type Kind string

const (
	// Changed means that teams, users, keys or switches have changed in the store.
	Changed Kind = "changed"
	// LogLevel has the new levels of the log as its text.
	LogLevel Kind = "log-level"
)

// maxTakers is how many takers of rates one api tells apart in its memory, two of each team.
const maxTakers = 20_000

// Memory is the state of an api that has no others.
type Memory struct {
	shares.Quotas
	Tries
}

var _ State = (*Memory)(nil)

// NewMemory returns a state that is in this process's memory.
func NewMemory() *Memory {
	return &Memory{Quotas: shares.Quotas{Takers: maxTakers}, Tries: Tries{Now: time.Now}}
}

// Put does nothing: the fleet of this process knows.
func (*Memory) Put(string, string) {}

// Drop does nothing.
func (*Memory) Drop(string) {}

// Find knows nothing.
func (*Memory) Find(context.Context, string) (string, bool) { return "", false }

// Tell has nobody to tell.
func (*Memory) Tell(context.Context, News) bool { return true }

// Lead runs work.
func (*Memory) Lead(ctx context.Context, _ string, work func(context.Context) error) error {
	return work(ctx)
}

// Run waits for the end of ctx.
func (*Memory) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Degraded returns nil.
func (*Memory) Degraded() error { return nil }

// Meters returns none.
func (*Memory) Meters() []prometheus.Collector { return nil }

// Close does nothing.
func (*Memory) Close() error { return nil }
