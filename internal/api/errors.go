package api

import (
	"encoding/json"
	"net/http"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// writeError answers with the JSON that every client parses, code and message, and
// adds what a person needs to fix the problem (api.md §1.4).
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	known := shoal.AsError(err)
	callOf(r.Context()).err = err
	cause, id := known.Cause, shoal.RequestID(r.Context())
	if known.Err != nil {
		cause = known.Err.Error()
	}
	// Plain strings always encode.
	body, _ := json.Marshal(gen.Error{Code: int32(known.Status), Message: known.Message,
		ErrorCode: known.Code, Cause: &cause, Fix: &known.Fix, RequestId: &id})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	switch known.Kind {
	case shoal.ErrConcurrencyLimit, shoal.ErrBuildLimit, shoal.ErrPlacementTimeout:
		// Python SDKs since 2.63 repeat every 429 and 504 that does not forbid it. It
		// would not help: a full team stays full, and a start has had its minute.
		h.Set("Should-Retry", "false")
	}
	w.WriteHeader(known.Status)
	_, _ = w.Write(append(body, '\n')) // the caller may be gone
}

// writeRequestError answers what the generated code could not decode.
func writeRequestError(w http.ResponseWriter, r *http.Request, err error) {
	writeError(w, r, requestError(err))
}
