package imagelibrary

import (
	"sync"
	"time"
)

// awayFor is how long a registry that could not be reached is not asked again, if
// there is something that stands in for its images.
const awayFor = time.Minute

// absence remembers registries that could not be reached.
type absence struct {
	mu    sync.Mutex // guards since
	since map[string]time.Time
}

func newAbsence() *absence { return &absence{since: map[string]time.Time{}} }

func (a *absence) note(registry string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since[registry] = time.Now()
}

func (a *absence) lately(registry string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.since[registry]
	return ok && time.Since(at) < awayFor
}
