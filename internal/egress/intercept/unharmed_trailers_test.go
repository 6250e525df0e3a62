package intercept_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestTrailers pass both ways, but for the transform's headers.
func TestTrailers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		seen := make(chan http.Header, 1)
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Announced")
			_, _ = io.Copy(io.Discard, r.Body)
			seen <- r.Trailer.Clone()
			fmt.Fprint(w, "body")
			w.Header().Set("X-Announced", "a")
			w.Header().Set(http.TrailerPrefix+"X-Late", "l")
		}), options{headers: map[string]string{"X-Key": "v"}})
		r := request(t, "POST", w.url("/"), struct{ io.Reader }{strings.NewReader("x")})
		r.Trailer = http.Header{"X-Sum": {"s"}, "X-Key": {"the guest's"}}
		answer, _ := send(t, w.client(http2), r)
		if got := <-seen; got.Get("X-Sum") != "s" || got.Get("X-Key") != "" {
			t.Errorf("the request's trailers are %v", got)
		}
		if got := answer.Trailer; got.Get("X-Announced") != "a" || got.Get("X-Late") != "l" {
			t.Errorf("the answer's trailers are %v", got)
		}
	})
}

// TestUnannouncedTrailers: HTTP/1.1 allows a client to send trailers that its head does not name.
func TestUnannouncedTrailers(t *testing.T) {
	seen := make(chan http.Header, 1)
	w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Trailer.Clone()
	}), options{protocols: []string{"http/1.1"}, headers: map[string]string{"X-Key": "v"}})
	conn := w.dial()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"+
		"1\r\nx\r\n0\r\nX-Sum: s\r\nX-Key: mine\r\n\r\n", serverName)
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("%s", answer)
	}
	if got := <-seen; got.Get("X-Sum") != "s" || got.Get("X-Key") != "" {
		t.Errorf("the request's trailers are %v", got)
	}
}

// TestUnannouncedTrailersOfHTTP2 get to the server, next to those that are announced.
func TestUnannouncedTrailersOfHTTP2(t *testing.T) {
	heads, trailers := make(chan []hpack.HeaderField, 1), make(chan []hpack.HeaderField, 1)
	w := newWorld(t, nil, options{protocols: []string{"h2"}, headers: map[string]string{"X-Key": "v"},
		raw: func(conn net.Conn) { serveFrames(conn, heads, trailers) }})
	long := strings.Repeat("long", 10_000) // of several frames
	for _, announced := range []http.Header{{}, {"X-Sum": nil}} {
		r := request(t, "POST", w.url("/"), nil)
		r.Trailer, r.ContentLength = announced, -1
		sent := false
		r.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) {
			if !sent {
				sent = true
				return copy(p, "body"), nil
			}
			for name, values := range map[string][]string{"X-Sum": {"s"}, "X-Late": {"1", "2"}, "X-Long": {long}, "X-Key": {"mine"}} {
				r.Trailer[name] = values
			}
			return 0, io.EOF
		}))
		_, wasAnnounced := announced["X-Sum"]
		if answer, _ := send(t, w.client(true), r); answer.StatusCode != 200 {
			t.Fatalf("%+v", answer)
		}
		names := ""
		for _, f := range <-heads {
			if f.Name == "trailer" {
				names += f.Value
			}
		}
		if want := map[bool]string{true: "X-Sum"}[wasAnnounced]; names != want {
			t.Errorf("announced are %q, want %q", names, want)
		}
		var got []string
		for _, f := range <-trailers {
			got = append(got, f.Name+"="+f.Value)
		}
		slices.Sort(got)
		if want := []string{"x-late=1", "x-late=2", "x-long=" + long, "x-sum=s"}; !slices.Equal(got, want) {
			t.Errorf("the server saw the trailers %.200q", got)
		}
	}
}

// serveFrames is a server of HTTP/2 that answers each request at its end, and shows its head and
// its trailers.
func serveFrames(conn net.Conn, heads, trailers chan<- []hpack.HeaderField) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	frames := http2.NewFramer(conn, conn)
	frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if frames.WriteSettings() != nil {
		return
	}
	for {
		f, err := frames.ReadFrame()
		if err != nil {
			return
		}
		ended := false
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = frames.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if ended = f.StreamEnded(); ended {
				trailers <- nil
			}
		case *http2.MetaHeadersFrame:
			if ended = f.StreamEnded(); ended {
				trailers <- slices.Clone(f.Fields)
			} else {
				heads <- slices.Clone(f.Fields)
			}
		}
		if ended {
			var block bytes.Buffer
			_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			_ = frames.WriteHeaders(http2.HeadersFrameParam{StreamID: f.Header().StreamID, BlockFragment: block.Bytes(),
				EndStream: true, EndHeaders: true})
		}
	}
}
