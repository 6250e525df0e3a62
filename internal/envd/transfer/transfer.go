// Package transfer is the daemon's plain HTTP file interface: download, upload
// and compose (envd.md §1.5 to §1.8).
package transfer

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"shoal/internal/envd/access"
	"shoal/internal/envd/account"
	"shoal/internal/envd/answer"
	"shoal/internal/envd/file"
	"shoal/internal/envd/settings"
)

// Handler serves /files and /files/compose.
type Handler struct {
	Token    *access.Token
	Accounts *account.Database
	Settings *settings.Settings
	Writer   file.Writer
}

// failure is an error with the HTTP status it is answered with.
type failure struct {
	status int
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failf(status int, format string, args ...any) error {
	return &failure{status, fmt.Errorf(format, args...)}
}

// reject answers with the error's status; an error without one is a full disk, a path that
// cannot be, or an internal error.
func reject(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if f, ok := errors.AsType[*failure](err); ok {
		status = f.status
	} else if file.NoSpace(err) {
		status = http.StatusInsufficientStorage
	} else if file.BadName(err) {
		status = http.StatusBadRequest
	}
	answer.Error(w, status, err.Error())
}

// authorize reads the query and checks the token or signature. It answers
// itself when it returns false.
func (h *Handler) authorize(w http.ResponseWriter, r *http.Request, operation string) (url.Values, bool) {
	query := r.URL.Query()
	expiration, err := access.Expiration(query)
	if err != nil {
		answer.Text(w, http.StatusBadRequest, err.Error())
		return nil, false
	}
	if err := h.Token.CheckFile(r, query, operation, expiration, time.Now()); err != nil {
		answer.Error(w, http.StatusUnauthorized, err.Error())
		return nil, false
	}
	return query, true
}

// username is the user the query names, or the default one. A name that is present but
// empty is looked up, and not found.
func (h *Handler) username(query url.Values) (string, error) {
	if query.Has("username") {
		return query.Get("username"), nil
	}
	if name := h.Settings.DefaultUser(); name != "" {
		return name, nil
	}
	return "", failf(http.StatusBadRequest, "no user was named and the sandbox has no default user")
}

func (h *Handler) lookup(name string) (account.User, error) {
	u, err := h.Accounts.Lookup(name)
	if err != nil {
		return u, &failure{http.StatusUnauthorized, err}
	}
	return u, nil
}

func (h *Handler) resolve(u account.User, path string) (string, error) {
	resolved, err := u.Resolve(path, h.Settings.DefaultWorkdir())
	if err != nil {
		return "", &failure{http.StatusBadRequest, err}
	}
	return resolved, nil
}
