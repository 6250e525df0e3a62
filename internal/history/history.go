// Package history answers what is known of sandboxes' pasts: from their machines and the store,
// and what those no longer have, from the archive, if there is one.
package history

import (
	"context"
	"log/slog"
	"time"

	"shoal/internal/archive"
	"shoal/internal/fleet"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// machineTime bounds the wait for a machine if there is somebody else to ask: one that hangs may have
// gone for good.
const machineTime = 2 * time.Second

// History answers questions about the past. While the archive is away, it answers as if there
// were none.
type History struct {
	fleet   *fleet.Fleet
	store   *store.Store
	archive *archive.Archive // nil is none
	log     *slog.Logger
}

// New returns a History. The archive may be nil.
func New(machines *fleet.Fleet, st *store.Store, kept *archive.Archive, log *slog.Logger) *History {
	return &History{fleet: machines, store: st, archive: kept, log: log}
}

// has reports whether the archive can be asked.
func (h *History) has() bool { return h.archive != nil && h.archive.Err() == nil }

// forMachines returns the context of a question to machines.
func (h *History) forMachines(ctx context.Context) (context.Context, context.CancelFunc) {
	if h.has() {
		return context.WithTimeout(ctx, machineTime)
	}
	return ctx, func() {}
}

// lacks logs that an answer lacks what the archive has.
func (h *History) lacks(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		h.log.Warn("an answer lacks what the ClickHouse server has",
			"of", what, "request", shoal.RequestID(ctx), "error", err)
	}
}
