package access

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"shoal/internal/envd/account"
	"shoal/internal/envd/settings"
)

type callerKey struct{}

// Callers selects the user of a request: the name in its Basic authorization, whose
// password is ignored, or the sandbox's default user.
type Callers struct {
	Accounts *account.Database
	Settings *settings.Settings
}

// Select refuses a request that names an unknown user, on every route, and
// keeps a known one for User.
func (c Callers) Select(next http.Handler) http.Handler {
	rpcErrors := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, ok := r.BasicAuth()
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		u, err := c.Accounts.Lookup(name)
		if err == nil {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, u)))
			return
		}
		if refusal := connect.NewError(connect.CodeUnauthenticated, err); rpcErrors.IsSupported(r) {
			_ = rpcErrors.Write(w, r, refusal)
		} else {
			refuse(w, refusal)
		}
	})
}

// refuse answers a plain HTTP request in the shape of a unary Connect error.
func refuse(w http.ResponseWriter, err *connect.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": err.Code().String(), "message": err.Message()})
}

// User returns the user of an RPC. The error is a Connect error: without a
// Basic user the default user must exist.
func (c Callers) User(ctx context.Context) (account.User, error) {
	if u, ok := ctx.Value(callerKey{}).(account.User); ok {
		return u, nil
	}
	u, err := c.Accounts.Lookup(c.Settings.DefaultUser())
	if err != nil {
		return account.User{}, connect.NewError(connect.CodeUnauthenticated,
			fmt.Errorf("default user: %w", err))
	}
	return u, nil
}
