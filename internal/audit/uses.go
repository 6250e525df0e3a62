package audit

import (
	"time"

	"shoal/internal/shoal"
)

// maxUses is how many different uses are counted in a minute. If there are more, those so far are told
// before the minute is over.
const maxUses = 10_000

// use is what is counted together.
type use struct {
	team, actor, operation, target, address string
}

// uses counts those of the present minute. It belongs to a Trail, whose lock guards it.
type uses struct {
	minute  time.Time
	counted map[use]shoal.AuditEntry
}

func newUses() uses { return uses{counted: map[use]shoal.AuditEntry{}} }

// count returns the entries that are to be told before this one is counted.
func (u *uses) count(e shoal.AuditEntry, now time.Time) (ended []shoal.AuditEntry) {
	ended = u.end(now)
	key := use{e.TeamID, e.Actor.ID, e.Operation, e.TargetID, e.Address}
	known, ok := u.counted[key]
	if !ok && len(u.counted) >= maxUses {
		ended = append(ended, u.take()...)
	}
	u.minute = now.Truncate(time.Minute)
	e.At = now
	e.Count += known.Count
	u.counted[key] = e
	return ended
}

// end returns the entries of the minute and begins anew, if that minute is over.
func (u *uses) end(now time.Time) []shoal.AuditEntry {
	if len(u.counted) == 0 || now.Truncate(time.Minute).Equal(u.minute) {
		return nil
	}
	return u.take()
}

func (u *uses) take() (ended []shoal.AuditEntry) {
	for _, e := range u.counted {
		ended = append(ended, e)
	}
	clear(u.counted)
	return ended
}
