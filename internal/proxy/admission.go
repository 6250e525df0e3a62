package proxy

import (
	"net/http"
	"sync"

	"shoal/internal/envdapi"
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
)

// admission counts the open requests of each sandbox.
type admission struct {
	mu   sync.Mutex
	open map[string]int
}

func newAdmission() *admission { return &admission{open: map[string]int{}} }

// enter admits a request of a weight. If it returns true, leave must be called once.
func (a *admission) enter(sandboxID string, weight int) (leave func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[sandboxID]+weight > MaxOpenRequests {
		return nil, false
	}
	a.open[sandboxID] += weight
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.open[sandboxID] -= weight; a.open[sandboxID] == 0 {
			delete(a.open, sandboxID)
		}
	}, true
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
