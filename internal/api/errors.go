package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// writeError answers with the JSON that every client parses, code and message, and
// adds what a person needs to fix the problem (api.md §1.4). What a machine says about its own
// failure names hosts and paths, so only the operator reads it; for everybody else's request
// it is in the log.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	known, call := shoal.AsError(err), callOf(r.Context())
	call.err = err
	cause, id := known.Cause, shoal.RequestID(r.Context())
	if known.Err != nil && (call.operator || known.Status < http.StatusInternalServerError) {
		cause = known.Err.Error()
	}
	// Plain strings always encode.
	body, _ := json.Marshal(gen.Error{Code: int32(known.Status), Message: advised(known),
		ErrorCode: known.Code, Cause: &cause, Fix: &known.Fix, RequestId: &id})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	switch known.Kind {
	case shoal.ErrConcurrencyLimit, shoal.ErrSandboxLimit, shoal.ErrBuildLimit, shoal.ErrKeptLimit,
		shoal.ErrTagLimit, shoal.ErrStorageLimit, shoal.ErrPlacementTimeout:
		// Python SDKs since 2.63 repeat every 429 and 504 that does not forbid it. It
		// would not help: a full team stays full, and a start has had its minute.
		h.Set("Should-Retry", "false")
	}
	w.WriteHeader(known.Status)
	_, _ = w.Write(append(body, '\n')) // the caller may be gone
}

// advised returns the message with the advice of the catalogue where it helps: some SDKs show
// nothing else. E2B's words come first, because clients look for them. What a machine said
// about a failure of its own stays in the cause.
func advised(e *shoal.Error) string {
	text := e.Message
	switch {
	case e.Status >= http.StatusInternalServerError:
		text += "\nCause: " + e.Cause
	case !messageNeedsFix(e.Kind):
		return text
	case e.Err != nil && e.Kind != shoal.ErrConcurrencyLimit && e.Kind != shoal.ErrSandboxLimit:
		text += "\nCause: " + e.Err.Error()
	}
	if strings.Contains(text, e.Fix) {
		return text
	}
	return text + "\nFix: " + e.Fix
}

// messageNeedsFix reports whether a message does not say by itself what to correct.
func messageNeedsFix(kind *shoal.Kind) bool {
	switch kind {
	case shoal.ErrFeatureOption, shoal.ErrTemplateFirstBuild, shoal.ErrTemplateNotBuilt,
		shoal.ErrTemplateNotFound, shoal.ErrTemplateInUse:
		return true
	}
	switch kind.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusGone, http.StatusTooManyRequests,
		http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}

// writeRequestError answers what the generated code could not decode.
func writeRequestError(w http.ResponseWriter, r *http.Request, err error) {
	writeError(w, r, requestError(err))
}
