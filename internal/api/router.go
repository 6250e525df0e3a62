package api

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// router sends requests to operations. It matches the escaped path, so that
// "ns%2Fname" is one segment.
type router struct {
	spec  *openapi3.T
	guard func(operation, http.HandlerFunc) http.HandlerFunc
	// muxes are asked in turn. Aliases come first: /templates/aliases/{alias} and
	// /templates/{templateID}/tags overlap, which one ServeMux does not allow.
	muxes [2]*http.ServeMux
	// unserved has the routes that are only refused, see refuseUnserved. It is asked
	// last.
	unserved *http.ServeMux
	err      error // of HandleFunc
}

var _ gen.ServeMux = (*router)(nil)

func newRouter(spec *openapi3.T, guard func(operation, http.HandlerFunc) http.HandlerFunc) *router {
	return &router{
		spec:     spec,
		guard:    guard,
		unserved: http.NewServeMux(),
		muxes:    [2]*http.ServeMux{http.NewServeMux(), http.NewServeMux()},
	}
}

// HandleFunc registers the handler of a pattern such as "GET /nodes".
func (rt *router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	method, route, _ := strings.Cut(pattern, " ")
	op, err := newOperation(rt.spec, method, route)
	if err != nil {
		rt.err = err
		return
	}
	mux := rt.muxes[1]
	if strings.HasPrefix(route, "/templates/aliases/") {
		mux = rt.muxes[0]
	}
	mux.HandleFunc(pattern, rt.guard(op, handler))
}

// ServeHTTP answers a path that it does not know with 404 and a method that the
// path does not have with 405, both as JSON.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if clean(r.URL.EscapedPath()) {
		for _, mux := range [...]*http.ServeMux{rt.muxes[0], rt.muxes[1], rt.unserved} {
			if _, pattern := mux.Handler(r); pattern != "" {
				mux.ServeHTTP(w, r)
				return
			}
		}
	}
	if allowed := rt.methods(r); len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeError(w, r, shoal.ErrMethod.New("Method %s is not allowed for %s", r.Method, r.URL.Path))
		return
	}
	writeError(w, r, shoal.ErrRouteNotFound.New("Path %q was not found", r.URL.Path))
}

// clean reports whether ServeMux would take the path as it is. It answers others
// with a redirect, which turns a client's POST into a GET.
func clean(escaped string) bool {
	return escaped == "/" || escaped == path.Clean(escaped) || escaped == path.Clean(escaped)+"/"
}

// servedMethods are the methods that any path may have.
var servedMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete}

// methods lists the methods that the path of a request has.
func (rt *router) methods(r *http.Request) []string {
	var list []string
	if !clean(r.URL.EscapedPath()) {
		return nil
	}
	for _, method := range servedMethods {
		probe := r.Clone(r.Context())
		probe.Method = method
		for _, mux := range rt.muxes {
			if _, pattern := mux.Handler(probe); pattern != "" {
				list = append(list, method)
				break
			}
		}
	}
	return list
}

// operation is one method of one path, as the specification describes it.
type operation struct {
	name   string // the pattern, "GET /nodes"
	method string
	route  string
	path   *openapi3.PathItem
	op     *openapi3.Operation
	spec   *openapi3.T
	access access
	// targets are the parameters in the path that name what the operation is about.
	targets []string
}

func newOperation(spec *openapi3.T, method, route string) (operation, error) {
	item := spec.Paths.Value(route)
	if item == nil || item.GetOperation(method) == nil {
		return operation{}, fmt.Errorf("the specification lacks %s %s", method, route)
	}
	op := item.GetOperation(method)
	access, err := readAccess(spec, op)
	if err != nil {
		return operation{}, fmt.Errorf("the specification of %s %s: %w", method, route, err)
	}
	return operation{name: method + " " + route, method: method, route: route,
		path: item, op: op, spec: spec, access: access, targets: targetsOf(route)}, nil
}
