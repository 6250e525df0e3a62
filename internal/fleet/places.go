package fleet

import (
	"context"
	"time"

	"shoal/internal/shoal"
)

// Places is where the apis of an installation agree on how many sandboxes each team has; *store.Store is
// one. What the machines say comes first: ComparePlaces brings places into line with it.
type Places interface {
	// TakePlace takes a place before a sandbox starts, or returns the error for the team's limit.
	TakePlace(ctx context.Context, r shoal.PlaceRequest) (shoal.Place, error)
	// SettlePlace keeps the place of a sandbox that has started, ReleasePlace gives it back if it has not.
	SettlePlace(ctx context.Context, p shoal.Place, nodeID string) error
	ReleasePlace(ctx context.Context, p shoal.Place) error
	// FreePlace gives back the place of a sandbox that is paused, unless somebody resumes it, or of one
	// that has ended.
	FreePlace(ctx context.Context, sandboxID string, ended bool) error
	PlacesOn(ctx context.Context, nodeID string) ([]shoal.Place, error)
	ComparePlaces(ctx context.Context, nodeID string, before []shoal.Place, running []shoal.Sandbox) error
}

// Catalogue is where apis tell each other which machine a sandbox is on. It may know nothing, and what it
// says is only where to ask first.
type Catalogue interface {
	// Put and Drop return at once.
	Put(sandboxID, nodeID string)
	Drop(sandboxID string)
	Find(ctx context.Context, sandboxID string) (nodeID string, ok bool)
}

// alone is for an api that has the machines to itself: locations count for it.
type alone struct{}

var (
	_ Places    = alone{}
	_ Catalogue = alone{}
)

func (alone) TakePlace(context.Context, shoal.PlaceRequest) (shoal.Place, error) {
	return shoal.Place{}, nil
}
func (alone) SettlePlace(context.Context, shoal.Place, string) error  { return nil }
func (alone) ReleasePlace(context.Context, shoal.Place) error         { return nil }
func (alone) FreePlace(context.Context, string, bool) error           { return nil }
func (alone) PlacesOn(context.Context, string) ([]shoal.Place, error) { return nil, nil }
func (alone) Put(string, string)                                      {}
func (alone) Drop(string)                                             {}
func (alone) Find(context.Context, string) (string, bool)             { return "", false }
func (alone) ComparePlaces(context.Context, string, []shoal.Place, []shoal.Sandbox) error {
	return nil
}

const (
	// placeTime bounds what is said about places after the caller may be gone.
	placeTime = 5 * time.Second
	// readTime bounds the wait for them before a machine is asked for its list, which has askTimeout in all.
	readTime = 2 * time.Second
)

// reservation is a place that was taken, here and with all apis.
type reservation struct {
	place  place
	shared shoal.Place
	err    error // why there is none
}

// reserve takes the team's places, with the error in each that there is none for. It syncs once before it
// refuses, because sandboxes may have ended since the last sync. The caller ends each by settle or giveBack.
func (f *Fleet) reserve(ctx context.Context, limits shoal.TeamLimits, places ...place) []reservation {
	list := make([]reservation, len(places))
	synced := false
	var syncErr error
	for i, p := range places {
		list[i].place = p
		list[i].shared, list[i].err = f.take(ctx, p, limits)
		if !isLimit(list[i].err) {
			continue
		}
		if !synced {
			syncErr, synced = f.Sync(ctx), true
			list[i].shared, list[i].err = f.take(ctx, p, limits)
		}
		if isLimit(list[i].err) {
			refusal := *shoal.AsError(list[i].err)
			refusal.Err = syncErr
			list[i].err = &refusal
		}
	}
	return list
}

func isLimit(err error) bool {
	return shoal.ErrConcurrencyLimit.Matches(err) || shoal.ErrSandboxLimit.Matches(err)
}

// take takes one place, first of those that this process counts.
func (f *Fleet) take(ctx context.Context, p place, limits shoal.TeamLimits) (shoal.Place, error) {
	if refused := f.sandboxes.reserve(p, limits); refused != nil {
		return shoal.Place{}, refused
	}
	request := shoal.PlaceRequest{TeamID: p.teamID, SandboxID: p.sandboxID, Limits: limits}
	request.Running, request.Paused = f.sandboxes.known(p.teamID)
	shared, err := f.places.TakePlace(ctx, request)
	if err != nil {
		f.sandboxes.release(p)
	}
	return shared, err
}

// settle replaces a reservation by the sandbox that was started.
func (f *Fleet) settle(ctx context.Context, r reservation, sb shoal.Sandbox, on *member) {
	f.sandboxes.settle(sb, on)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), placeTime)
	defer cancel()
	f.logPlace(ctx, sb.SandboxID, f.places.SettlePlace(ctx, r.shared, sb.NodeID))
	f.catalogue.Put(sb.SandboxID, sb.NodeID)
}

// giveBack ends a reservation for which nothing was started. If that is not certain, the apis count it
// until a machine has been asked, or its time has passed.
func (f *Fleet) giveBack(ctx context.Context, r reservation, uncertain bool) {
	f.sandboxes.release(r.place)
	if uncertain {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), placeTime)
	defer cancel()
	f.logPlace(ctx, r.place.sandboxID, f.places.ReleasePlace(ctx, r.shared))
}

// free gives back the place of a sandbox that runs no more.
func (f *Fleet) free(ctx context.Context, sandboxID string, ended bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), placeTime)
	defer cancel()
	f.logPlace(ctx, sandboxID, f.places.FreePlace(ctx, sandboxID, ended))
}

// placesOn reads the places on a machine. A store that does not answer is not the machine's fault.
func (f *Fleet) placesOn(ctx context.Context, nodeID string) ([]shoal.Place, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	return f.places.PlacesOn(ctx, nodeID)
}

// logPlace logs what could not be said: a place that is held ends by itself, and syncs mend the rest.
func (f *Fleet) logPlace(ctx context.Context, sandboxID string, err error) {
	if err != nil {
		f.log.Warn("the place of a sandbox could not be brought up to date", "sandbox", sandboxID,
			"request", shoal.RequestID(ctx), "error", err)
	}
}

// running returns those of a machine's sandboxes that count as such.
func running(list []shoal.Sandbox) []shoal.Sandbox {
	var some []shoal.Sandbox
	for _, sb := range list {
		if sb.State != shoal.StateCreating && sb.State.Public() == shoal.StateRunning {
			some = append(some, sb)
		}
	}
	return some
}
