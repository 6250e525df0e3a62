package client

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/gen/process"
)

// impostor is what took a daemon's place in a guest. It reads a request and answers with
// whatever it likes.
type impostor struct {
	host string
	sent atomic.Int64 // bytes of answers that the system took, some of which nobody read
}

func startImpostor(t *testing.T, host string, answer func(conn io.Writer)) *impostor {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(envdapi.Port)))
	if err != nil {
		t.Fatal(err)
	}
	i := &impostor{host: host}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
					return
				}
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					answer(countedWriter{conn, &i.sent})
				}
			})
		}
	})
	t.Cleanup(func() { listener.Close(); conns.Wait() })
	return i
}

type countedWriter struct {
	io.Writer
	n *atomic.Int64
}

func (w countedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// calls are all that the host asks of a guest's daemon.
var calls = map[string]func(context.Context, *Client) error{
	"health": func(ctx context.Context, c *Client) error { return c.Ready(ctx) },
	"init": func(ctx context.Context, c *Client) error {
		return c.Init(ctx, envdapi.Init{EnvVars: map[string]string{"SECRET": "of the tenant"}, AccessToken: "token"})
	},
	"metrics": func(ctx context.Context, c *Client) error { _, err := c.Metrics(ctx); return err },
	"prepare": func(ctx context.Context, c *Client) error { _, err := c.Prepare(ctx); return err },
	"file":    func(ctx context.Context, c *Client) error { return c.Put(ctx, "/f", strings.NewReader("text")) },
	"stat":    func(ctx context.Context, c *Client) error { _, err := c.Lives(ctx, 1); return err },
	"command": func(ctx context.Context, c *Client) error {
		_, err := c.Text(ctx, Command{Args: []string{"true"}})
		return err
	},
	"warm-up": func(ctx context.Context, c *Client) error { return c.WarmUp(ctx, "user") },
}

// streams are those whose answer is a stream.
var streams = map[string]bool{"command": true, "warm-up": true}

// refused asks for an *AnswerError that contains what.
func refused(t *testing.T, name string, err error, what string) {
	t.Helper()
	var answer *AnswerError
	if !errors.As(err, &answer) || !strings.Contains(answer.What, what) || len(err.Error()) > 2*maxText {
		t.Errorf("%s: error %.300v, want one of %q", name, err, what)
	}
	if err != nil && strings.Contains(err.Error(), "127.") {
		t.Errorf("%s: the error names an address: %v", name, err)
	}
}

// TestRedirects: no call follows one, wherever it leads and whatever its status is.
func TestRedirects(t *testing.T) {
	internal, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var followed sync.WaitGroup
	followed.Go(func() {
		for {
			conn, err := internal.Accept()
			if err != nil {
				return
			}
			t.Errorf("the host connected to %s, which the guest chose", internal.Addr())
			conn.Close()
		}
	})
	defer followed.Wait()
	defer internal.Close()
	var status atomic.Int64
	daemon := startImpostor(t, "127.49.98.20", func(conn io.Writer) {
		fmt.Fprintf(conn, "HTTP/1.1 %d Elsewhere\r\nLocation: http://%s/internal\r\nContent-Length: 0\r\n\r\n",
			status.Load(), internal.Addr())
	})
	for _, code := range []int64{301, 302, 303, 307, 308} {
		status.Store(code)
		for name, call := range calls {
			for _, opts := range [][]Option{nil, {KeepAlive()}} {
				err := call(patient(t), New(daemon.host, "token", opts...))
				refused(t, name, err, fmt.Sprintf("a redirect (status %d)", code))
			}
		}
	}
}

// TestAddress: whatever a URL says, the guest is dialed, and no proxy is asked.
func TestAddress(t *testing.T) {
	daemon := startImpostor(t, "127.49.98.21", func(conn io.Writer) {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthe guest")
	})
	transport := newTransport(daemon.host)
	req, err := http.NewRequestWithContext(patient(t), http.MethodGet, "http://192.0.2.77:81/", nil)
	must(t, err)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	must(t, err)
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); string(text) != "the guest" {
		t.Errorf("%q answered, error %v", text, err)
	}
	if transport.http.Proxy != nil {
		t.Error("a proxy may stand between the host and its guest")
	}
}

const (
	streamHead = "HTTP/1.1 200 OK\r\nContent-Type: application/connect+proto\r\n\r\n"
	jsonHead   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
)

// endless writes until nobody takes it.
func endless(conn io.Writer, piece string) {
	block := []byte(strings.Repeat(piece, 1+(64<<10)/len(piece)))
	for {
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
}

// message is one of a stream, with the length that it claims.
func message(flags byte, length int, data []byte) string {
	return string(binary.BigEndian.AppendUint32([]byte{flags}, uint32(length))) + string(data)
}

func printed(t testing.TB, data string) string {
	raw, err := proto.Marshal(&process.StartResponse{Event: &process.ProcessEvent{
		Event: &process.ProcessEvent_Data{Data: &process.ProcessEvent_DataEvent{
			Output: &process.ProcessEvent_DataEvent_Stdout{Stdout: []byte(data)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return message(0, len(raw), raw)
}

// enough is what an endless answer may cost: what is read of it, and what the system holds
// of it unread, in bytes.
const enough = 32 << 20

// TestBodies: what is too large, compressed or malformed ends a call after few bytes.
func TestBodies(t *testing.T) {
	var bomb bytes.Buffer
	pack := gzip.NewWriter(&bomb)
	_, _ = pack.Write(make([]byte, 1<<20))
	must(t, pack.Close())
	zipped := "HTTP/1.1 200 OK\r\nContent-Type: application/%s\r\nContent-Encoding: gzip\r\n" +
		"Connect-Content-Encoding: gzip\r\n\r\n" + bomb.String()
	for n, c := range []struct {
		about  string
		calls  []string
		answer func(conn io.Writer)
		want   string // of an *AnswerError
	}{
		{"an announced message of 2 GB in JSON", []string{"warm-up"}, func(conn io.Writer) {
			fmt.Fprint(conn, strings.Replace(streamHead, "proto", "json", 1), message(0, 2_000_000_000, nil))
			endless(conn, "A")
		}, "a message of 2000000000 bytes"},
		{"an announced message of 2 GB", []string{"command"}, func(conn io.Writer) {
			fmt.Fprint(conn, streamHead, message(0, 2_000_000_000, nil))
			endless(conn, "A")
		}, "a message of 2000000000 bytes"},
		{"a last message of 2 GB", []string{"command"}, func(conn io.Writer) {
			fmt.Fprint(conn, streamHead, message(flagLast, 2_000_000_000, nil))
			endless(conn, "A")
		}, "a message of 2000000000 bytes"},
		{"a compressed message", []string{"command"}, func(conn io.Writer) {
			fmt.Fprint(conn, streamHead, message(flagCompressed, bomb.Len(), bomb.Bytes()))
		}, "a compressed message"},
		{"a compressed answer", []string{"metrics", "stat", "file", "health"}, func(conn io.Writer) {
			fmt.Fprintf(conn, zipped, "json")
		}, "a compressed body"},
		{"a compressed stream", []string{"command"}, func(conn io.Writer) {
			fmt.Fprintf(conn, zipped, "connect+proto")
		}, "a compressed body"},
		{"an endless body", []string{"metrics", "stat", "health", "init"}, func(conn io.Writer) {
			fmt.Fprint(conn, strings.Replace(jsonHead, "json", "proto", 1))
			endless(conn, " ")
		}, "a body of more than 65536 bytes"},
		{"an announced body of 2 GB", []string{"metrics", "stat", "health", "file", "prepare"}, func(conn io.Writer) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n")
			endless(conn, " ")
		}, "a body of 2000000000 bytes"},
		{"another protocol", []string{"metrics", "command"}, func(conn io.Writer) {
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			endless(conn, " ")
		}, "status 101"},
	} {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			daemon := startImpostor(t, fmt.Sprint("127.49.98.", 30+n), c.answer)
			for _, name := range c.calls {
				refused(t, name, calls[name](patient(t), New(daemon.host, "", KeepAlive())), c.want)
			}
			if sent := daemon.sent.Load(); sent > enough*int64(len(c.calls)) {
				t.Errorf("the daemon sent %d bytes", sent)
			}
		})
	}
}

// TestHeads: one without end is cut off, and neither it nor another's words fill a log.
func TestHeads(t *testing.T) {
	for n, c := range []struct {
		about  string
		answer func(conn io.Writer)
	}{
		{"headers without end", func(conn io.Writer) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
			endless(conn, "X-Another: header\r\n")
		}},
		{"one header without end", func(conn io.Writer) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-One: ")
			endless(conn, "A")
		}},
		{"a status without end", func(conn io.Writer) { endless(conn, "HTTP") }},
		{"provisional answers without end", func(conn io.Writer) {
			endless(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		}},
		{"a long status", func(conn io.Writer) {
			fmt.Fprintf(conn, "HTTP/1.1 404 %s\r\nContent-Length: 0\r\n\r\n", strings.Repeat("A", maxHead/2))
		}},
		{"a long complaint", func(conn io.Writer) {
			text := `{"error":{"code":"internal","message":"` + strings.Repeat("A", maxMessage/2) + `"}}`
			fmt.Fprint(conn, streamHead, message(flagLast, len(text), []byte(text)))
		}},
	} {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			daemon := startImpostor(t, fmt.Sprint("127.49.98.", 50+n), c.answer)
			for _, name := range []string{"metrics", "stat", "command", "file"} {
				err := calls[name](patient(t), New(daemon.host, ""))
				if err == nil && name != "file" || err != nil && len(err.Error()) > 2*maxText {
					t.Errorf("%s: error %.300v", name, err)
				}
			}
			if sent := daemon.sent.Load(); sent > 4*enough {
				t.Errorf("the daemon sent %d bytes", sent)
			}
		})
	}
}

// TestDripping: a body that never ends ends the call in time, also of a call whose answer is
// complete but for its end.
func TestDripping(t *testing.T) {
	drip := func(conn io.Writer) {
		for {
			if _, err := conn.Write([]byte(" ")); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	daemon := startImpostor(t, "127.49.98.60", func(conn io.Writer) {
		fmt.Fprint(conn, strings.Replace(jsonHead, "json", "proto", 1))
		drip(conn)
	})
	quick := func(g *guarded) { g.bodyTime = 100 * time.Millisecond }
	for name, call := range calls {
		if !streams[name] && name != "file" {
			refused(t, name, call(patient(t), New(daemon.host, "", KeepAlive(), quick)), "does not end in time")
		}
	}

	end, err := proto.Marshal(&process.StartResponse{Event: &process.ProcessEvent{
		Event: &process.ProcessEvent_End{End: &process.ProcessEvent_EndEvent{Exited: true}}}})
	must(t, err)
	heard := make(chan struct{})
	ended := startImpostor(t, "127.49.98.61", func(conn io.Writer) {
		fmt.Fprint(conn, streamHead, message(0, len(end), end))
		<-heard // the stream does not end by itself
	})
	defer close(heard)
	begin := time.Now()
	must(t, calls["command"](patient(t), New(ended.host, "", KeepAlive())))
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("the command's end was known after %s", took)
	}
}

// TestStreamBounds: large output is taken in pieces, an endless one is not.
func TestStreamBounds(t *testing.T) {
	piece := strings.Repeat("A", 32<<10)
	const pieces = 4096
	large := startImpostor(t, "127.49.98.62", func(conn io.Writer) {
		text := printed(t, piece)
		fmt.Fprint(conn, streamHead)
		for range pieces {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
		fmt.Fprint(conn, message(flagLast, 2, []byte("{}")))
	})
	var got int
	err := New(large.host, "").Run(patient(t), Command{Args: []string{"x"}}, nil,
		func(_ bool, data []byte) { got += len(data) })
	if err == nil || errors.As(err, new(*AnswerError)) || got != pieces*len(piece) {
		t.Errorf("%d bytes of output, error %v", got, err)
	}

	var f frames
	block := make([]byte, 5+maxMessage)
	binary.BigEndian.PutUint32(block[1:], maxMessage)
	var read int64
	for err = nil; err == nil; read += int64(len(block)) {
		err = f.check(block)
	}
	refused(t, "an endless stream", err, "a stream of more than 1024 MiB")
	if read > maxStream+2*int64(len(block)) {
		t.Errorf("%d bytes were read", read)
	}
	f = frames{}
	block = make([]byte, 5*1024) // messages that say nothing
	n := 0
	for err = nil; err == nil; n += 1024 {
		err = f.check(block)
	}
	refused(t, "endless messages", err, "a stream of more than 16777216 messages")
	if n > maxMessages+1024 {
		t.Errorf("%d messages were read", n)
	}
}

// TestManyStarts: a daemon that announces a command's start again and again starts nothing
// in the host but once.
func TestManyStarts(t *testing.T) {
	start, err := proto.Marshal(&process.StartResponse{Event: &process.ProcessEvent{
		Event: &process.ProcessEvent_Start{Start: &process.ProcessEvent_StartEvent{Pid: 7}}}})
	must(t, err)
	daemon := startImpostor(t, "127.49.98.63", func(conn io.Writer) {
		fmt.Fprint(conn, streamHead, strings.Repeat(message(0, len(start), start), 1000))
	})
	starts := 0
	err = New(daemon.host, "").Run(patient(t), Command{Args: []string{"x"}}, func(uint32) { starts++ },
		func(bool, []byte) {})
	if starts != 1 || err == nil {
		t.Errorf("%d starts, error %v", starts, err)
	}
}
