package api

import (
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"shoal/internal/shoal"
)

// validate checks a request against the specification. Authentication is
// authorize's business; defaults are the handlers', for v1 and v2 differ.
func (o operation) validate(r *http.Request) error {
	params := map[string]string{}
	for _, list := range []openapi3.Parameters{o.path.Parameters, o.op.Parameters} {
		for _, p := range list {
			if p.Value.In == openapi3.ParameterInPath {
				params[p.Value.Name] = r.PathValue(p.Value.Name)
			}
		}
	}
	err := openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
		Request:    r,
		PathParams: params,
		Route: &routers.Route{Spec: o.spec, Path: o.route, PathItem: o.path, Method: o.method,
			Operation: o.op},
		Options: &openapi3filter.Options{
			AuthenticationFunc:  openapi3filter.NoopAuthenticationFunc,
			SkipSettingDefaults: true,
		},
	})
	if err != nil {
		return requestError(err)
	}
	return nil
}

// validationPrefix starts the message of every violation (api.md §1.3).
const validationPrefix = "validation error: error in openapi3filter.RequestError: "

// requestError words a violation in one line. The rest of the text, a dump of
// the schema, is of no use to a caller.
func requestError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errTooLarge(tooLarge.Limit)
	}
	// Of a connection that failed, the text names the addresses on our side.
	if errors.As(err, new(*net.OpError)) {
		return shoal.ErrBadRequest.Wrap(err, "%sthe request's body broke off", validationPrefix)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return shoal.ErrBadRequest.New("%s%s", validationPrefix, line)
}

func errTooLarge(limit int64) error {
	return shoal.ErrBodyTooLarge.New("The request body is larger than %d MiB", limit>>20)
}
