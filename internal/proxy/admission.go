package proxy

import (
	"net/http"

	"shoal/internal/envdapi"
	"shoal/internal/shares"
	"shoal/internal/shoal"
)

const (
	// MaxOpenRequests is how many requests to one sandbox may be open at once, streams and
	// WebSockets among them; the one over it is answered with 429 (runtime.md §1.6). Each
	// holds two descriptors and some 100 KiB here.
	MaxOpenRequests = 1024

	// fileWeight is what a request that sends or fetches a file counts for: its buffers are
	// larger, so that few packets carry much.
	fileWeight = 8

	// openShare is the part of the process's descriptors that may be connections to guests,
	// and open requests, as a divisor; maxOpen is the most of each, wherever there are more.
	openShare = 6
	maxOpen   = 16384
	// teamShare is the part of the open requests that may be to sandboxes of one team, and
	// scarceShare the same when half of all are open.
	teamShare   = 2
	scarceShare = 8
)

// openRequests counts what is open to each sandbox, to all of them, and to each team's.
type openRequests struct {
	sandboxes, teams shares.Shares[string]
}

func newOpenRequests(total int) *openRequests {
	team := max(total/teamShare, 1)
	return &openRequests{
		sandboxes: shares.Shares[string]{All: total, Each: min(MaxOpenRequests, team)},
		teams:     shares.Shares[string]{All: total, Each: team, Scarce: max(total/scarceShare, 1)},
	}
}

// place is that of an open request. One goroutine uses it.
type place struct {
	open          *openRequests
	sandbox, team string
	weight        int
}

// enter gives a request its place, or returns the page that refuses it. The place must be
// left.
func (o *openRequests) enter(sandboxID string, weight int) (*place, *page) {
	if o.sandboxes.Take(sandboxID, weight) {
		return &place{open: o, sandbox: sandboxID, weight: weight}, nil
	}
	if full, bound := o.sandboxes.Full(sandboxID, weight); full {
		return nil, limitPage(sandboxID, shoal.ErrSandboxRequests, bound)
	}
	return nil, limitPage(sandboxID, shoal.ErrProxyBusy, o.sandboxes.All)
}

// join counts the request to the sandbox's team too, once, as soon as that is known.
func (p *place) join(team string) *page {
	switch {
	case p.team != "":
	case p.open.teams.Take(team, p.weight):
		p.team = team
	default:
		_, bound := p.open.teams.Full(team, p.weight)
		return limitPage(p.sandbox, shoal.ErrTeamRequests, bound)
	}
	return nil
}

// leave gives the place up.
func (p *place) leave() {
	p.open.sandboxes.Give(p.sandbox, p.weight)
	if p.team != "" {
		p.open.teams.Give(p.team, p.weight)
	}
}

// movesFile reports whether a request sends or fetches a file by the daemon.
func movesFile(r *http.Request, rt route) bool {
	return rt.port == shoal.EnvdPort && r.URL.Path == envdapi.FilesPath
}

func weigh(r *http.Request, rt route) int {
	if movesFile(r, rt) {
		return fileWeight
	}
	return 1
}
