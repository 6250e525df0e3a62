package proxy

import (
	"net/http"
	"time"
)

const (
	headTime = 20 * time.Second // for the head of a request, or a new connection's silence
	headSize = 128 << 10        // bytes of a request's head
	// bodyLinger is how long the rest of a body may take once the request is answered. Until
	// then it may take as long as its sandbox lives.
	bodyLinger = 5 * time.Second
)

// NewServer serves a proxy to clients of HTTP/1.1 and cleartext HTTP/2. Only heads and idle
// connections have a time limit: a stream may last as long as its sandbox.
func NewServer(h http.Handler) *http.Server {
	s := &http.Server{Handler: h, ReadHeaderTimeout: headTime, MaxHeaderBytes: headSize,
		IdleTimeout: ServerIdle, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1000, MaxReceiveBufferPerStream: 1 << 20,
		MaxReceiveBufferPerConnection: 1 << 24}
	return s
}

// bodyEndsSoon bounds the time that the server waits for what is left of the request's
// body, which it reads before it takes the connection's next request.
func bodyEndsSoon(w http.ResponseWriter) {
	// An error means that the connection was taken over or is gone.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyLinger))
}
