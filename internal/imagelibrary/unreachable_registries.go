package imagelibrary

import (
	"sync"
	"time"
)

// awayFor is how long a registry that could not be reached is not asked again for images
// that have a stand-in.
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
