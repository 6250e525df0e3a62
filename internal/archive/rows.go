package archive

import (
	"time"
)

// text is a time as the server reads it, in UTC.
func text(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") }

// sane reports whether a time that a guest may have chosen is one that the row may be kept under:
// no older than its machine keeps it, or others have removed it already, and not of the future.
func sane(t time.Time, kept time.Duration) bool {
	now := time.Now()
	return t.After(now.Add(-kept-24*time.Hour)) && t.Before(now.Add(time.Hour))
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}
