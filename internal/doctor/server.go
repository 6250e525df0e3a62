package doctor

import (
	"context"
	"strings"
	"time"

	"shoal/internal/config"
)

const (
	// serverTime bounds all questions to one server.
	serverTime = 10 * time.Second
	// maxSkew is how far a server's clock may be from this machine's: tokens, keys and deadlines
	// that one of them writes are read by the other.
	maxSkew = 2 * time.Second
)

// server is something that the settings of an api name and that runs elsewhere, or may.
type server struct {
	name string
	// ask returns what was found, in the order of importance: what keeps the rest from being asked
	// ends it. Result.Name says what of the server it is about, such as "clock"; "" is whether it
	// answers at all. It returns nothing for a server that the settings do not name.
	ask func(ctx context.Context, cfg *config.Config) []Result
}

// servers are in the order in which a start needs them. Each is asked in a file of its own.
var servers = []server{
	{"database", askDatabase},
	{"redis", askRedis},
	{"issuer", askIssuers},
}

// askServers asks all servers, each for a bounded time.
func askServers(ctx context.Context, cfg *config.Config) (results []Result) {
	for _, s := range servers {
		asking, cancel := context.WithTimeout(ctx, serverTime)
		for _, r := range s.ask(asking, cfg) {
			r.Name = strings.TrimSpace(s.name + " " + r.Name)
			results = append(results, r)
		}
		cancel()
	}
	return results
}

// of says what of a server a result is about.
func (r Result) of(what string) Result {
	r.Name = what
	return r
}

// exchange is the time that a server told, and when it was asked and had answered by this machine's
// clock.
type exchange struct {
	sent, told, received time.Time
	precision            time.Duration // of what was told
}

// skew is the least by which the server's clock is ahead of this machine's; below zero it is behind.
// Within what the exchange cannot tell apart it is 0.
func (e exchange) skew() time.Duration {
	if ahead := e.told.Sub(e.received); ahead > 0 {
		return ahead
	}
	if behind := e.sent.Sub(e.told.Add(e.precision)); behind > 0 {
		return -behind
	}
	return 0
}

// judge compares the server's clock with this machine's.
func (e exchange) judge() Result {
	skew, word := e.skew(), "ahead of"
	if skew < 0 {
		skew, word = -skew, "behind"
	}
	if skew <= maxSkew {
		return ok("within %s of this machine's", maxSkew).of("clock")
	}
	return Warn.because("have both machines set their clocks by NTP: timedatectl set-ntp true, or chronyc makestep",
		"%s %s this machine's clock: what expires does so too early or too late, and tokens may be refused",
		skew.Round(time.Millisecond), word).of("clock")
}
