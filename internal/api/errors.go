package api

import (
	"encoding/json"
	"net/http"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// writeError answers with the JSON that every client parses: code and message,
// and what a person needs to mend it (api.md §1.4).
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	known := shoal.AsError(err)
	callOf(r.Context()).err = err
	cause, id := known.Cause, shoal.RequestID(r.Context())
	if known.Err != nil {
		cause = known.Err.Error()
	}
	body, _ := json.Marshal(gen.Error{Code: int32(known.Status), Message: known.Message, // plain strings always encode
		ErrorCode: known.Code, Cause: &cause, Fix: &known.Fix, RequestId: &id})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if known.Kind == shoal.ErrConcurrencyLimit || known.Kind == shoal.ErrBuildLimit || known.Kind == shoal.ErrPlacementTimeout {
		// Python SDKs since 2.63 repeat every 429 and 504 that does not forbid it.
		// A full team stays full, and a timed-out start has had its minute.
		h.Set("Should-Retry", "false")
	}
	w.WriteHeader(known.Status)
	_, _ = w.Write(append(body, '\n')) // the caller may be gone
}

// writeRequestError answers what the generated code could not decode.
func writeRequestError(w http.ResponseWriter, r *http.Request, err error) {
	writeError(w, r, requestError(err))
}
