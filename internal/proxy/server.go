package proxy

import "net/http"

// NewServer serves a proxy to clients of HTTP/1.1 and cleartext HTTP/2. Only idle
// connections have a time limit: a stream may last as long as its sandbox.
func NewServer(h http.Handler) *http.Server {
	s := &http.Server{Handler: h, IdleTimeout: ServerIdle, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1000, MaxReceiveBufferPerStream: 1 << 20,
		MaxReceiveBufferPerConnection: 1 << 24}
	return s
}
