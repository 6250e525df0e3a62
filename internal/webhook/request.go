package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

const (
	// tryTime bounds one attempt, from the look-up of the name to the end of the answer.
	tryTime = 10 * time.Second
	// maxAnswer is how much of an answer's body, and of its head, the log keeps.
	maxAnswer = 4 << 10
	userAgent = "Shoal-Webhooks/1"
)

// Classes of errors in the log of deliveries.
const (
	classRefused   = "refused"    // the address is internal
	classTimeout   = "timeout"    // no answer in time
	classConnect   = "connection" // no connection, or one that broke off
	classStatus    = "status"     // an answer that is not 2xx
	classEventGone = "event_gone" // the event was removed before it was delivered
	classExpired   = "expired"    // tried for as long as may be
)

// Sign returns the signature of a body (runtime.md §6.4).
func Sign(secret string, body []byte) string {
	h := sha256.New()
	_, _ = io.WriteString(h, secret) // a hash takes everything
	_, _ = h.Write(body)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// bodyOf returns what is sent. store.ErrNotFound if the event was removed.
func (s *Sender) bodyOf(ctx context.Context, d shoal.Delivery) ([]byte, error) {
	if d.Test != "" {
		return []byte(d.Test), nil
	}
	e, err := s.store.Event(ctx, d.TeamID, d.EventID)
	if err != nil {
		return nil, err
	}
	return json.Marshal(e.Wire())
}

// try sends a delivery once. An error is of the store; how it went is in the attempt.
func (s *Sender) try(ctx context.Context, hook shoal.Webhook, d shoal.Delivery) (shoal.Attempt, error) {
	a := shoal.Attempt{At: time.Now().UTC()}
	body, err := s.bodyOf(ctx, d)
	if errors.Is(err, store.ErrNotFound) {
		a.ErrorClass = classEventGone
		a.ErrorMessage = "the event was removed: the team has newer ones that take its place"
		return a, nil
	}
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		a.ErrorClass, a.ErrorMessage = classConnect, "the URL cannot be called"
		return a, nil
	}
	a.RequestHeaders = map[string]string{
		"Content-Type":          "application/json",
		"User-Agent":            userAgent,
		"e2b-webhook-id":        hook.ID,
		"e2b-delivery-id":       d.ID,
		"e2b-signature-version": "v1",
	}
	for name, value := range a.RequestHeaders {
		r.Header.Set(name, value)
	}
	// The log does not have it: who reads the log need not be able to sign.
	r.Header.Set("e2b-signature", Sign(hook.Secret, body))
	answer, err := s.client.Do(r)
	a.Duration = time.Since(a.At)
	if err != nil {
		a.ErrorClass, a.ErrorMessage = failure(err)
		return a, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	a.Duration = time.Since(a.At)
	a.ResponseStatus, a.ResponseHeaders = answer.StatusCode, headOf(answer.Header)
	a.ResponseBody = clean(string(text))
	switch {
	case answer.StatusCode/100 != 2:
		a.ErrorClass, a.ErrorMessage = classStatus, "the receiver answered "+clean(answer.Status)
		if answer.StatusCode/100 == 3 {
			a.ErrorMessage += "; redirects are not followed"
		}
	case err != nil:
		a.ErrorClass, a.ErrorMessage = failure(err)
	}
	return a, nil
}

// failure words why there is no answer. The words of internal/outbound name no addresses.
func failure(err error) (class, message string) {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var slow net.Error
	switch {
	case shoal.ErrOutboundRefused.Matches(err):
		return classRefused, shoal.AsError(err).Message
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return classTimeout, "it did not answer within " + tryTime.String()
	default:
		return classConnect, clean(err.Error())
	}
}

// headOf is what the log keeps of a head: the first value of each field, as many as fit.
func headOf(head http.Header) map[string]string {
	kept, left := map[string]string{}, maxAnswer
	for name, values := range head {
		value := clean(values[0])
		if left -= len(name) + len(value); left < 0 {
			break
		}
		kept[name] = value
	}
	return kept
}

// clean makes a stranger's bytes text that every database takes.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
