package intercept_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestLargeBodies go both ways with known and unknown lengths.
func TestLargeBodies(t *testing.T) {
	data := make([]byte, 20<<20)
	_, _ = rand.Read(data)
	eachProtocol(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
			_, _ = io.Copy(w, r.Body)
		}), options{})
		for want, body := range map[string]io.Reader{
			fmt.Sprint(len(data)): bytes.NewReader(data), "-1": struct{ io.Reader }{bytes.NewReader(data)}} {
			r := request(t, "PUT", w.url("/"), body)
			answer, got := send(t, w.client(http2), r)
			if sha256.Sum256(got) != sha256.Sum256(data) || answer.Header.Get("X-Length") != want {
				t.Errorf("%d bytes came back, the server saw the length %s", len(got), answer.Header.Get("X-Length"))
			}
		}
	})
}

// TestStreamsGoBothWays: each side's next word follows the other's.
func TestStreamsGoBothWays(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			_ = control.EnableFullDuplex()
			w.WriteHeader(http.StatusOK)
			_ = control.Flush()
			lines := bufio.NewScanner(r.Body)
			for lines.Scan() {
				fmt.Fprintf(w, "re: %s\n", lines.Text())
				_ = control.Flush()
			}
		}), options{})
		read, write := io.Pipe()
		answer, err := w.client(http2).Do(request(t, "POST", w.url("/"), read))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		lines := bufio.NewScanner(answer.Body)
		for n := range 5 {
			fmt.Fprintf(write, "%d\n", n)
			if !lines.Scan() || lines.Text() != fmt.Sprintf("re: %d", n) {
				t.Fatalf("%q %v", lines.Text(), lines.Err())
			}
		}
		write.Close()
		if lines.Scan() || lines.Err() != nil {
			t.Errorf("after the end: %q %v", lines.Text(), lines.Err())
		}
	})
}

// TestServerSentEvents arrive while the answer goes on, and the server learns that a client has gone.
func TestServerSentEvents(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		next, gone := make(chan int), make(chan struct{})
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for {
				select {
				case n := <-next:
					fmt.Fprintf(w, "data: %d\n\n", n)
					_ = http.NewResponseController(w).Flush()
				case <-r.Context().Done():
					close(gone)
					return
				}
			}
		}), options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := request(t, "GET", w.url("/"), nil).WithContext(ctx)
		go func() { next <- 0 }()
		answer, err := w.client(http2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		events := bufio.NewReader(answer.Body)
		for n := range 3 {
			if n > 0 {
				next <- n
			}
			line, err := events.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", n) {
				t.Fatalf("%q %v", line, err)
			}
			_, _ = events.ReadString('\n')
		}
		cancel()
		<-gone
	})
}

// TestExpectContinue: the body is sent when the server asks for it, and not if it refuses.
func TestExpectContinue(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/refused" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			echo(w, r)
		}), options{})
		for path, want := range map[string]int{"/refused": 403, "/taken": 200} {
			read := false
			r := request(t, "POST", w.url(path), readerFunc(func(p []byte) (int, error) {
				if read {
					return 0, io.EOF
				}
				read = true
				return copy(p, "body"), nil
			}))
			r.Header.Set("Expect", "100-continue")
			answer, body := send(t, w.client(http2), r)
			if answer.StatusCode != want || !http2 && read != (want == 200) || want == 200 && parse(t, body).Body != "body" {
				t.Errorf("%s: %d %s, the body was read: %v", path, answer.StatusCode, body, read)
			}
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestInterimAnswers such as early hints come before the answer.
func TestInterimAnswers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("X-Final", "1")
		}), options{})
		var hints []string
		r := request(t, "GET", w.url("/"), nil)
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, h.Get("Link")))
				return nil
			}}))
		answer, _ := send(t, w.client(http2), r)
		if len(hints) != 1 || hints[0] != "103</style.css>" || answer.Header.Get("X-Final") != "1" {
			t.Errorf("hints %q, answer %v", hints, answer.Header)
		}
	})
}

// TestAnswersHaveNothingAdded: no type, date or length that the server has not sent.
func TestAnswersHaveNothingAdded(t *testing.T) {
	raw := "HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 4\r\n\r\n<a/>"
	w := newWorld(t, nil, options{protocols: []string{"http/1.1"}, raw: func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, raw)
		}
	}})
	conn := w.dial()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", serverName)
	answer, _ := io.ReadAll(conn)
	if want := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Own: 1\r\nConnection: close\r\n\r\n<a/>"; string(answer) != want {
		t.Errorf("%q", answer)
	}
}

func TestHeadAndEmptyAnswers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/head":
				w.Header().Set("Content-Length", "12345")
			case "/204":
				w.WriteHeader(http.StatusNoContent)
			case "/304":
				w.Header().Set("Etag", `"e"`)
				w.WriteHeader(http.StatusNotModified)
			case "/redirect":
				http.Redirect(w, r, "https://other.example.com/", http.StatusFound)
			}
		}), options{})
		c := w.client(http2)
		if answer, body := send(t, c, request(t, "HEAD", w.url("/head"), nil)); answer.ContentLength != 12345 || len(body) != 0 {
			t.Errorf("HEAD: %d %q", answer.ContentLength, body)
		}
		for path, want := range map[string]int{"/204": 204, "/304": 304, "/redirect": 302} {
			if answer, _ := send(t, c, request(t, "GET", w.url(path), nil)); answer.StatusCode != want {
				t.Errorf("%s: %d", path, answer.StatusCode)
			}
		}
	})
}

// TestHalfClose: the server learns that a client has ended its side, and its answer gets there.
func TestHalfClose(t *testing.T) {
	w := newWorld(t, nil, options{protocols: []string{"http/1.1"}, raw: func(conn net.Conn) {
		in := bufio.NewReader(conn)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		if _, err := in.ReadByte(); err == io.EOF {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n\r\ngot %s", body)
		}
	}})
	long := strings.Repeat("x", 1<<20)
	for body, framed := range map[string]string{"": "\r\n", "body": "Content-Length: 4\r\n\r\nbody",
		"chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\nchunk\r\n0\r\n\r\n",
		long:    "Content-Length: 1048576\r\n\r\n" + long} {
		conn := w.dial()
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s", serverName, framed)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := conn.NetConn().(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "got "+body {
			t.Errorf("%.10q: %d %.500q %v", body, answer.StatusCode, got, err)
		}
		conn.Close()
		if err := <-w.results; err != nil {
			t.Errorf("the connection failed: %v", err)
		}
	}
}

// TestCutBodies: a client that ends its side within a body is not waited for.
func TestCutBodies(t *testing.T) {
	read := make(chan error, 1)
	w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	}), options{protocols: []string{"http/1.1"}})
	conn := w.dial()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n\r\nhalf", serverName)
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err == nil {
		t.Error("the server saw a whole body")
	}
	<-w.results
}

// TestUpgrades: a WebSocket's head has the transform's headers, and then bytes go both ways until
// each side has ended.
func TestUpgrades(t *testing.T) {
	w := newWorld(t, nil, options{protocols: []string{"http/1.1"}, headers: map[string]string{"X-Key": "${e2b.secrets.k}"},
		raw: func(conn net.Conn) {
			in := bufio.NewReader(conn)
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Accept: %s\r\n\r\n", r.Header.Get("Upgrade"), r.Header.Get("Sec-WebSocket-Key"))
			fmt.Fprintf(conn, "key %s\n", r.Header.Get("X-Key"))
			all, _ := io.ReadAll(in) // until the client has ended its half
			fmt.Fprintf(conn, "got %s", all)
		}})
	w.filler.set("k", "value", nil)
	conn := w.dial("h2", "http/1.1")
	fmt.Fprintf(conn, "GET /chat HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: abc=\r\nSec-WebSocket-Version: 13\r\n\r\n", serverName)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != 101 || answer.Header.Get("Sec-WebSocket-Accept") != "abc=" {
		t.Fatalf("%v %v", answer, err)
	}
	if line, _ := in.ReadString('\n'); line != "key value\n" {
		t.Errorf("%q", line)
	}
	fmt.Fprint(conn, "frame")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); string(rest) != "got frame" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	if err := <-w.results; err != nil {
		t.Errorf("the connection failed: %v", err)
	}
}

// TestNoUpgradeToHTTP2: requests within it would not be looked at.
func TestNoUpgradeToHTTP2(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), options{protocols: []string{"http/1.1"}})
	conn := w.dial()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"+
		"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", serverName)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	if h := parse(t, body).Header; answer.StatusCode != 200 || h.Get("Upgrade") != "" || h.Get("Http2-Settings") != "" {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}

// TestRequestsAfterTheServerHangsUp: the guest's connection outlives those to the server.
func TestRequestsAfterTheServerHangsUp(t *testing.T) {
	w := newWorld(t, nil, options{protocols: []string{"http/1.1"}, raw: func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		}
	}})
	c := w.client(false)
	for range 3 {
		if _, body := send(t, c, request(t, "GET", w.url("/"), nil)); string(body) != "ok" {
			t.Errorf("%q", body)
		}
	}
	c.CloseIdleConnections()
	<-w.results
	if len(w.results) != 0 {
		t.Error("the guest had several connections")
	}
}

// TestCutAnswers do not look like whole ones.
func TestCutAnswers(t *testing.T) {
	for name, head := range map[string]string{"length": "Content-Length: 100\r\n\r\nhalf",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		w := newWorld(t, nil, options{protocols: []string{"http/1.1"}, raw: func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head)
			}
		}})
		answer, err := w.client(false).Do(request(t, "GET", w.url("/"), nil))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(answer.Body); err == nil {
			t.Errorf("%s: %q is whole", name, body)
		}
		answer.Body.Close()
	}
}

// TestGRPC: unary calls, streams both ways, and errors, which are trailers.
func TestGRPC(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle(grpchealth.NewHandler(grpchealth.NewStaticChecker("a")))
	mux.Handle("/echo/bidi", connect.NewBidiStreamHandler("/echo/bidi", func(_ context.Context,
		s *connect.BidiStream[wrapperspb.StringValue, wrapperspb.StringValue]) error {
		for {
			in, err := s.Receive()
			if err != nil {
				return connect.NewError(connect.CodeAborted, fmt.Errorf("key %s", s.RequestHeader().Get("X-Key")))
			}
			if err := s.Send(wrapperspb.String("re: " + in.Value)); err != nil {
				return err
			}
		}
	}))
	w := newWorld(t, mux, options{headers: map[string]string{"X-Key": "v"}})
	c := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](w.client(true), w.url("/echo/bidi"), connect.WithGRPC())
	stream := c.CallBidiStream(t.Context())
	for n := range 3 {
		if err := stream.Send(wrapperspb.String(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		if got, err := stream.Receive(); err != nil || got.Value != fmt.Sprint("re: ", n) {
			t.Fatalf("%v %v", got, err)
		}
	}
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	_, err := stream.Receive()
	if connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(err.Error(), "key v") {
		t.Errorf("the end is %v", err)
	}
}

// TestSmuggling: what could be read in two ways is not passed on as it was.
func TestSmuggling(t *testing.T) {
	reached := make(chan string, 10)
	w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		reached <- r.URL.Path + " " + r.Host
	}), options{protocols: []string{"http/1.1"}})
	hidden := "GET /hidden HTTP/1.1\r\nHost: other.example.com\r\n\r\n"
	for name, text := range map[string]string{
		"both lengths":       fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", serverName, 5+len(hidden), hidden),
		"two lengths":        fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n%s", serverName, len(hidden), hidden),
		"odd coding":         fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: xchunked\r\n\r\n%s", serverName, hidden),
		"blank before colon": fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length : %d\r\n\r\n%s", serverName, len(hidden), hidden),
		"two hosts":          fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nHost: other.example.com\r\n\r\n", serverName),
	} {
		conn := w.dial()
		_, _ = io.WriteString(conn, text)
		_ = conn.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.Copy(io.Discard, conn)
		<-w.results
		for len(reached) > 0 {
			if got := <-reached; got != "/ "+serverName {
				t.Errorf("%s: the server saw %s", name, got)
			}
		}
	}
}
