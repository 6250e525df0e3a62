package intercept

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"shoal/internal/shoal"
)

// flushTime is how long a part of an answer of known length may wait for more. Of an unknown length,
// it reaches the guest at once.
const flushTime = 5 * time.Millisecond

// answer passes one request on to the server, with the transform's headers.
func (s *session) answer(w http.ResponseWriter, r *http.Request) {
	if !s.requests.begin() {
		return
	}
	defer s.requests.done()
	if err := s.check(r); err != nil {
		s.refuse(w, err)
		return
	}
	headers, filled, err := s.fills.headers(r.Context(), s.SandboxID, s.Domain, s.Transform)
	if filled && s.Filled != nil {
		s.Filled(err)
	}
	if err != nil {
		s.refuse(w, fillFailure(s.ServerName, err))
		return
	}
	// An answer may begin before the request's body ends. HTTP/2 always allows this, and
	// returns an error here.
	_ = http.NewResponseController(w).EnableFullDuplex()
	x := exchange{length: r.ContentLength}
	if s.half != nil {
		s.half.expect(x.end)
		defer s.half.expect(nil)
	}
	proxy := httputil.ReverseProxy{
		Transport:     s.server.transport,
		FlushInterval: flushTime,
		BufferPool:    &s.buffers,
		ErrorLog:      s.cut,
		Rewrite: func(p *httputil.ProxyRequest) {
			s.restore(p)
			p.Out = p.Out.WithContext(x.watch(p.Out.Context()))
			for name, value := range headers {
				p.Out.Header.Set(name, value)
			}
		},
		ModifyResponse: x.stream,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // the client has gone
			}
			s.refuse(w, serverFailure(s.ServerName, err))
		},
	}
	defer flushCut(w)
	proxy.ServeHTTP(answerWriter{w}, r)
}

// flushCut has an answer that breaks off reach the guest as far as it got.
func flushCut(w http.ResponseWriter) {
	switch cut := recover(); cut {
	case nil:
	case http.ErrAbortHandler:
		_ = http.NewResponseController(w).Flush() // the guest may have gone, too
		panic(cut)
	default:
		panic(cut)
	}
}

// check refuses what must not be given the values. The certificate is for one name, and so is
// the connection: a request for another host would go to a server that the rule does not name.
func (s *session) check(r *http.Request) error {
	if s.server.transport == nil {
		return s.firstFailure()
	}
	host, port := r.Host, ""
	if h, p, err := net.SplitHostPort(r.Host); err == nil {
		host, port = h, p
	}
	ours := strconv.Itoa(int(s.Port))
	if host != "" && canonical(host) != s.ServerName || port != "" && port != ours {
		return shoal.ErrTransformMisdirected.New("The connection is for %s, and the request for another host",
			s.ServerName)
	}
	// TRACE would have the server send the values back; a tunnel is no request.
	if r.Method == http.MethodTrace || r.Method == http.MethodConnect {
		return shoal.ErrTransformMethod.New("%s is not passed on to a domain with a transform", r.Method)
	}
	return nil
}

// restore undoes what the proxy changes beyond what it must, for the server is to get what it
// would get without a transform.
func (s *session) restore(p *httputil.ProxyRequest) {
	out, in := p.Out, p.In
	out.URL.Scheme, out.URL.Host = "https", net.JoinHostPort(s.ServerName, strconv.Itoa(int(s.Port)))
	if out.Host == "" {
		out.Host = s.ServerName
	}
	out.URL.RawQuery = in.URL.RawQuery
	if path, _, _ := strings.Cut(in.RequestURI, "?"); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		out.URL.Opaque = path // as it was spelled
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := in.Header[name]; values != nil {
			out.Header[name] = values
		}
	}
	// What goes through an upgrade is not looked at. Requests must not hide there.
	if httpguts.HeaderValuesContainsToken(out.Header["Upgrade"], "h2c") {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}
	out.Header.Del("Http2-Settings")
	out.Trailer = nil
	if out.Body == nil {
		return
	}
	trailer := http.Header{} // the names are announced before the values are known
	fill := func(from http.Header) {
		for name, values := range from {
			if !s.sets(name) && name != carrier {
				trailer[name] = values
			}
		}
	}
	fill(in.Trailer)
	out.Trailer = trailer
	out.Body = &requestBody{ReadCloser: out.Body, atEnd: sync.OnceFunc(func() {
		fill(in.Trailer)
		if in.ProtoMajor == 2 {
			fill(uncarried(in.Trailer[carrier]))
		}
	})}
}

// sets tells whether a header is one of the transform's.
func (s *session) sets(name string) bool {
	for own := range s.Transform.Headers {
		if textproto.CanonicalMIMEHeaderKey(own) == textproto.CanonicalMIMEHeaderKey(name) {
			return true
		}
	}
	return false
}

// requestBody tells of its end. One goroutine reads it and then looks at the trailers.
type requestBody struct {
	io.ReadCloser
	atEnd func()
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.atEnd()
	}
	return n, err
}

// answerWriter keeps the server of net/http from adding what the real one has not sent.
type answerWriter struct{ http.ResponseWriter }

// Unwrap is for http.ResponseController.
func (w answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w answerWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		for _, name := range []string{"Content-Type", "Date"} {
			if _, sent := w.Header()[name]; !sent {
				w.Header()[name] = nil
			}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// refuse answers in place of the server, and notes why.
func (s *session) refuse(w http.ResponseWriter, err error) {
	s.fail(err)
	known := shoal.AsError(err)
	message := known.Message
	if known.Detail != "" {
		message += ": " + known.Detail
	}
	body, err := json.Marshal(map[string]any{"code": known.Status, "error_code": known.Code,
		"message": message, "cause": known.Cause, "fix": known.Fix})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(known.Status)
	_, _ = w.Write(body) // the client may have gone
}

// bufferPool lends buffers for bodies.
type bufferPool struct{ pool sync.Pool }

var _ httputil.BufferPool = (*bufferPool)(nil)

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, copyBuffer)
}

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
