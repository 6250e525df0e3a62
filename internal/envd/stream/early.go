package stream

import (
	"io"
	"net/http"
	"time"
)

// lingering is how long a connection whose request was answered early stays open, so that
// the answer arrives before the reset for what nobody reads.
const lingering = time.Second

// AnsweringEarly lets the handler of a client's stream answer while the client goes on
// streaming, as when the process that the stream is for has ended. The server would
// otherwise read on before it sends the answer, until the client ends its stream by itself.
// What is unread is no next request, so the connection ends with the answer.
func AnsweringEarly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if control.EnableFullDuplex() == nil { // as HTTP/2 always is
			w.Header().Set("Connection", "close")
			r.Body = io.NopCloser(r.Body) // the server's Close reads on
		}
		next.ServeHTTP(w, r)
		_ = control.SetReadDeadline(time.Now().Add(lingering)) // fails if the connection has
	})
}
