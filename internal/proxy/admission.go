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
)

// newOpenRequests counts the open requests to each sandbox.
func newOpenRequests() *shares.Shares[string] { return &shares.Shares[string]{Each: MaxOpenRequests} }

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
