package envd

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"shoal/internal/envd/answer"
	"shoal/internal/envdapi"
)

// router matches paths and methods exactly. The standard mux would clean paths, answer HEAD
// where there is a GET, and give a 405 a body.
type router struct {
	routes map[string]map[string]http.HandlerFunc // by path, then method
	rpcs   map[string]http.Handler                // by prefix "/package.Service/"
}

func (rt *router) handle(method, path string, h http.HandlerFunc) {
	if rt.routes == nil {
		rt.routes = map[string]map[string]http.HandlerFunc{}
	}
	if rt.routes[path] == nil {
		rt.routes[path] = map[string]http.HandlerFunc{}
	}
	rt.routes[path][method] = h
}

func (rt *router) handleRPC(prefix string, h http.Handler) {
	if rt.rpcs == nil {
		rt.rpcs = map[string]http.Handler{}
	}
	rt.rpcs[prefix] = h
}

// ServeHTTP implements http.Handler.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if methods, ok := rt.routes[path]; ok {
		if h, ok := methods[r.Method]; ok {
			h(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if end := strings.LastIndexByte(path, '/'); end > 0 {
		if h, ok := rt.rpcs[path[:end+1]]; ok {
			h.ServeHTTP(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// routes builds the handler, which checks the origin, then the token, then the user.
func (s *Server) routes() http.Handler {
	rt := &router{}
	rt.handle(http.MethodGet, envdapi.HealthPath,
		func(w http.ResponseWriter, _ *http.Request) { answer.NoContent(w) })
	rt.handle(http.MethodGet, envdapi.MetricsPath, s.handleMetrics)
	rt.handle(http.MethodGet, envdapi.EnvsPath, s.handleEnvs)
	rt.handle(http.MethodPost, envdapi.InitPath, s.handleInit)
	rt.handle(http.MethodGet, envdapi.FilesPath, s.transfer.Download)
	rt.handle(http.MethodPost, envdapi.FilesPath, s.transfer.Upload)
	rt.handle(http.MethodPost, envdapi.ComposePath, s.transfer.Compose)
	rt.handle(http.MethodPost, envdapi.FreezePath, handleFreeze)
	rt.handle(http.MethodPost, envdapi.UnfreezePath, handleUnfreeze)
	rt.handle(http.MethodPost, envdapi.CollapsePath, handleCollapse)
	rt.handle(http.MethodPost, envdapi.FsfreezePath, s.disk.handleFreeze)
	rt.handle(http.MethodPost, envdapi.FsthawPath, s.disk.handleThaw)
	rt.handle(http.MethodPost, envdapi.UpgradePath, handleUpgrade)
	rt.handle(http.MethodPost, envdapi.PreparePath, s.handlePrepare)
	s.routeRPCs(rt)
	return allowOrigins(s.token.Gate(s.callers.Select(rt)))
}

func (s *Server) handleMetrics(w http.ResponseWriter, _ *http.Request) {
	reading, err := s.meter.Read()
	if err != nil {
		s.log.Warn("metrics could not be read", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	answer.JSON(w, reading)
}

func (s *Server) handleEnvs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	answer.JSON(w, s.settings.Environment())
}

// handleUpgrade refuses: the daemon is replaced by building its template anew.
func handleUpgrade(w http.ResponseWriter, _ *http.Request) {
	answer.Error(w, http.StatusNotImplemented,
		"this daemon is replaced by rebuilding its template, not in place")
}
