package endpoint

import (
	"fmt"
	"net/http"
	"time"
)

// NewHealthServer returns the proxy's health check, which answers every GET with "healthy"
// (runtime.md §1.9).
func NewHealthServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "healthy") })
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
}
