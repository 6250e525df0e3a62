// Package answer writes the answers of the daemon's plain HTTP endpoints.
package answer

import (
	"encoding/json"
	"net/http"
)

// Error answers with {"code":status,"message":…} (envd.md §1). Clients tell
// errors apart by the number in code, and show the message.
func Error(w http.ResponseWriter, status int, message string) {
	h := w.Header()
	h.Del("Content-Encoding")
	h.Del("Content-Disposition")
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // a client that left cannot be told
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{status, message})
}

// JSON answers 200 with the value.
func JSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// Text answers with plain text, as the contract demands for some errors.
func Text(w http.ResponseWriter, status int, message string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(message + "\n"))
}

// NoContent answers 204, which must not be cached.
func NoContent(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
