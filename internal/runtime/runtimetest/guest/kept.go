package main

import (
	"io"
	"net/http"
	"os"
)

// kept are files that stay open, by their paths.
var kept = map[string]*os.File{}

// handleKeep opens a file and keeps it open.
func handleKeep(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	f, err := os.Open(path)
	kept[path] = f
	reply(w, err, "ok")
}

// handleKept reads a file that was kept open.
func handleKept(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(io.NewSectionReader(kept[r.URL.Query().Get("path")], 0, 1<<20))
	reply(w, err, string(data))
}
