package auth

import (
	"context"
	"net/netip"
	"time"

	"shoal/internal/live"
	"shoal/internal/shares"
)

// A wrong password makes the next ones wait: the more there were, the longer. They count by account
// and source together, by source alone, and by account alone, which is bounded last, so that nobody
// locks another out with a few tries.
const (
	triesOfBoth    = 5
	triesOfSource  = 20
	triesOfAccount = 100
)

// Tries counts wrong passwords, of accounts that there are and that there are not. live.Tries does so in
// the memory of one process.
type Tries interface {
	// BeginTry counts a try as wrong, which RightTry takes back. It returns how long to wait if it may
	// not be made.
	BeginTry(ctx context.Context, counts []live.Count) (wait time.Duration)
	RightTry(ctx context.Context, counts []live.Count)
}

// countsOf are what a try counts by.
func countsOf(account string, source netip.Addr) []live.Count {
	from := shares.SourceOf(source).String()
	return []live.Count{
		{Key: "account and source\n" + account + "\n" + from, Free: triesOfBoth, Ends: true},
		{Key: "source\n" + from, Free: triesOfSource},
		{Key: "account\n" + account, Free: triesOfAccount},
	}
}
