package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

// access is what an operation asks of its callers, as the specification states it.
type access struct {
	ways          []auth.Way // none: anybody may call
	right         shoal.Rights
	allowsBlocked bool // reads and clean-up
	personal      bool
	takesTeamID   bool           // as a query parameter
	feature       shoal.Switches // that must not be switched off; 0 is none
	audited       bool           // also when nothing is refused
}

// waysOf are the ways by the names of their security schemes.
var waysOf = map[string]auth.Way{
	"ApiKey":            auth.ByKey,
	"TeamID+UserToken":  auth.ByMember,
	"AdminToken+TeamID": auth.ByAdminForTeam,
	"AccessToken":       auth.ByAccessToken,
	"UserToken":         auth.ByUser,
	"AdminToken":        auth.ByAdmin,
}

// readAccess fails for an operation whose access is not stated in full, so that none is open by
// an oversight.
func readAccess(spec *openapi3.T, op *openapi3.Operation) (a access, err error) {
	required := op.Security
	if required == nil {
		required = &spec.Security
	}
	for _, alternative := range *required {
		schemes := strings.Join(slices.Sorted(maps.Keys(alternative)), "+")
		way, ok := waysOf[schemes]
		if !ok {
			return a, fmt.Errorf("no way to be authenticated is %q", schemes)
		}
		a.ways = append(a.ways, way)
	}
	name, stated := op.Extensions["x-shoal-right"].(string)
	switch {
	case stated != (len(a.ways) > 0):
		return a, fmt.Errorf("x-shoal-right is %q, with %d ways to be authenticated", name, len(a.ways))
	case stated:
		if a.right, err = shoal.ParseRight(name); err != nil {
			return a, err
		}
	}
	a.allowsBlocked = op.Extensions["x-blocked-team"] == "allowed"
	a.personal = op.Extensions["x-personal"] == true
	if name, ok := op.Extensions["x-shoal-switch"]; ok {
		if a.feature, err = shoal.ParseSwitch(fmt.Sprint(name)); err != nil {
			return a, err
		}
	}
	a.audited = op.Extensions["x-shoal-audit"] == true
	a.takesTeamID = op.Parameters.GetByInAndName(openapi3.ParameterInQuery, "teamID") != nil
	return a, nil
}

// request is what authentication looks at.
func (a access) request(r *http.Request) auth.Request {
	asked := auth.Request{Header: r.Header, Secure: r.TLS != nil, Ways: a.ways, Personal: a.personal}
	if a.takesTeamID {
		asked.TeamID = r.URL.Query().Get("teamID")
	}
	return asked
}
