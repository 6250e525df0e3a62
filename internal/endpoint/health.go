package endpoint

import (
	"fmt"
	"net/http"
	"time"
)

// NewHealthServer answers every GET for the proxy (runtime.md §1.9).
func NewHealthServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "healthy") })
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
}
