package api

import (
	"bytes"
	"encoding/json"
	"net/http"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// Mount serves pages for people beside the routes. It must be called before the first request.
func (s *Server) Mount(pages *http.ServeMux) { s.pages = pages }

// withPages answers the requests that pages are mounted for. Other origins have no business there,
// whatever the routes allow them.
func (s *Server) withPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.pages == nil {
			next.ServeHTTP(w, r)
			return
		}
		_, pattern := s.pages.Handler(r)
		if pattern == "" {
			next.ServeHTTP(w, r)
			return
		}
		callOf(r.Context()).route = pattern
		if err := s.origins.checkHost(r); err != nil {
			writeError(w, r, err)
			return
		}
		s.pages.ServeHTTP(w, r)
	})
}

// TokensClosed reports whether no further access tokens are made.
func (s *Server) TokensClosed() bool { return s.noNewTokens }

// Ask has the API answer a request on behalf of one to a page: with that one's cookies and address,
// and further headers. The answer is held in memory.
func (s *Server) Ask(
	page *http.Request, method, path string, header http.Header, body any,
) (status int, answer []byte, err error) {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return 0, nil, err
		}
	}
	r, err := http.NewRequestWithContext(page.Context(), method, path, &sent)
	if err != nil {
		return 0, nil, err
	}
	r.RequestURI, r.Host, r.RemoteAddr, r.TLS = path, page.Host, page.RemoteAddr, page.TLS
	for _, name := range []string{"Cookie", "User-Agent"} {
		r.Header[name] = page.Header[name]
	}
	r.Header.Set(shoal.RequestIDHeader, shoal.RequestID(page.Context()))
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	kept := &kept{header: http.Header{}, status: http.StatusOK}
	s.ServeHTTP(kept, r)
	return kept.status, kept.body.Bytes(), nil
}

// ErrorOf is the error that an answer tells of.
func ErrorOf(status int, answer []byte) error {
	var wire gen.Error
	_ = json.Unmarshal(answer, &wire) // without an error's shape it has no code
	for _, kind := range shoal.Catalogue {
		if kind.Code == wire.ErrorCode {
			return kind.New("%s", wire.Message)
		}
	}
	return shoal.ErrInternal.New("The API answered %d", status)
}
