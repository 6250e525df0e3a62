package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// writeError answers with the JSON that every client parses, code and message, and
// adds what a person needs to fix the problem (api.md §1.4). What lies under an error names
// hosts, paths and queries, so only the operator reads it; for everybody else's request it is
// in the log under the request's ID.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	known, call := shoal.AsError(err), callOf(r.Context())
	if known.Kind == shoal.ErrInternal && errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		known = shoal.ErrRequestTime.Wrap(err, "The request was not done within %s", requestTime)
		err = known
	}
	if known.Kind == shoal.ErrInternal && store.Away(err) {
		known = shoal.ErrStoreLost.Wrap(err, "The service lost its records for a moment")
		if !call.began || r.Method == http.MethodGet || r.Method == http.MethodHead {
			known = shoal.ErrStoreAway.Wrap(err, "The service cannot read its records for now")
		}
		err = known
	}
	call.err = err
	cause, id := causeOf(known), shoal.RequestID(r.Context())
	if known.Err != nil && call.operator {
		cause = known.Err.Error()
	}
	// Plain strings always encode.
	body, _ := json.Marshal(gen.Error{Code: int32(known.Status), Message: advised(known),
		ErrorCode: known.Code, Cause: &cause, Fix: &known.Fix, RequestId: &id})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	switch retryAdvice(known.Kind) {
	case neverRetry:
		h.Set("Should-Retry", "false")
	case retrySoon:
		h.Set("Should-Retry", "true")
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(known.Status)
	_, _ = w.Write(append(body, '\n')) // the caller may be gone
}

// advice is what an answer says to SDKs that repeat requests by themselves.
type advice int

const (
	byStatus   advice = iota // 429, 502, 503 and 504 are repeated three times within a second
	neverRetry               // it would not help, or could do a thing twice
	retrySoon                // whatever the status: what is in the way passes by itself
)

// retryAdvice is about the SDKs of clients-2.63.md §2.1. What is left to the status and is
// repeated must have changed nothing.
func retryAdvice(kind *shoal.Kind) advice {
	switch kind {
	case shoal.ErrConcurrencyLimit, shoal.ErrSandboxLimit, shoal.ErrBuildLimit, shoal.ErrKeptLimit,
		shoal.ErrTagLimit, shoal.ErrStorageLimit, shoal.ErrKeyLimit, shoal.ErrTokenLimit, shoal.ErrNoNode,
		shoal.ErrPlacementTimeout, shoal.ErrIdempotencyUnknown, shoal.ErrDaemonSilent, shoal.ErrResumeTimeout, shoal.ErrRequestTime,
		shoal.ErrTemplateLimit, shoal.ErrSecretLimit, shoal.ErrSecretExists, shoal.ErrSecretTime, shoal.ErrStoreLost,
		shoal.ErrVolumeLimit, shoal.ErrWebhookLimit, shoal.ErrWebhookDisabled, shoal.ErrServiceAccountLimit,
		shoal.ErrSignInTries:
		// A full team stays full, machines do not get templates in a second, a start or request
		// has had its minute and may still be done, and a daemon that hangs goes on hanging.
		return neverRetry
	case shoal.ErrSandboxState, shoal.ErrIdempotencyInProgress:
		return retrySoon
	}
	return byStatus
}

// causeOf is what a tenant reads of an error's cause.
func causeOf(e *shoal.Error) string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Cause
}

// advised returns the message with the advice of the catalogue where it helps: some SDKs show
// nothing else. E2B's words come first, because clients look for them.
func advised(e *shoal.Error) string {
	text := e.Message
	switch {
	case e.Status >= http.StatusInternalServerError:
		text += "\nCause: " + causeOf(e)
	case !messageNeedsFix(e.Kind):
		return text
	case e.Detail != "":
		text += "\nCause: " + e.Detail
	}
	if strings.Contains(text, e.Fix) {
		return text
	}
	return text + "\nFix: " + e.Fix
}

// messageNeedsFix reports whether a message does not say by itself what to correct.
func messageNeedsFix(kind *shoal.Kind) bool {
	switch kind {
	case shoal.ErrFeatureOption, shoal.ErrSwitchedOffOption, shoal.ErrTemplateFirstBuild, shoal.ErrTemplateNotBuilt,
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
