package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
	"shoal/internal/splice"
)

// A guest's daemon sends and takes a file faster than this process can copy it, and each wake-up of
// this process costs time too. So the host's kernel moves bodies from connection to connection
// without copying them into this process, and wakes the process for many packets at once. A
// download over HTTP/1.1 gets a connection of its own for that.
//
// Only files of the daemon are sent this way: another service may be slow on purpose, and
// its bytes must not be held back.
const (
	bulkFrom = 4 << 20   // bytes of the smallest body that is moved in bulk
	bulkWake = 512 << 10 // how many bytes wake this process
	bulkTail = 2 * bulkWake
	bulkHead = 64 << 10 // the most bytes of an answer's head, and what is read with it
)

// isBulk reports whether the answer to a request may be a large file that the host's kernel can
// move to the client's connection. A compressed file has no known length, so it is streamed
// like anything else.
func isBulk(r *http.Request, rt route, target Target) bool {
	compressed := strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept-Encoding"), ",")),
		"gzip")
	return rt.port == shoal.EnvdPort && r.Method == http.MethodGet && r.URL.Path == envdapi.FilesPath &&
		r.ProtoMajor == 1 && target.Node == "" && !compressed
}

// download forwards a request for a file. Like forward, it returns true if nothing was
// sent.
func (h *Handler) download(w http.ResponseWriter, r *http.Request, rt route, target Target) (again bool) {
	address := net.JoinHostPort(target.Host.String(), fmt.Sprint(shoal.EnvdPort))
	execution := h.upstream.of(target.ExecutionID)
	if execution == nil {
		return true
	}
	conn, err := execution.dial(r.Context(), "tcp", address)
	if err != nil {
		return h.upstreamFailed(w, r, rt, target, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(r.Context(), func() { conn.Close() }) // the client has gone
	defer stop()
	resp, reader, err := ask(conn, r)
	if err != nil {
		return h.upstreamFailed(w, r, rt, target, err)
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		if !hopByHop[name] && name != headerRoute {
			w.Header()[name] = values
		}
	}
	if resp.ContentLength >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	w.WriteHeader(resp.StatusCode)
	if err := move(w, resp, reader, conn.(*trackedConn)); err != nil {
		h.log.Debug("a download was cut off", "sandbox", rt.sandboxID, "error", err)
		// The status is already sent, so only a cut connection can report the failure.
		panic(http.ErrAbortHandler)
	}
	return false
}

// hopByHop headers concern one connection, not the answer.
var hopByHop = map[string]bool{"Connection": true, "Keep-Alive": true, "Transfer-Encoding": true,
	"Upgrade": true, "Trailer": true, "Content-Length": true}

// ask sends the client's request, except for headers that concern only its own connection,
// and reads the head of the answer, which the library does not bound.
func ask(conn net.Conn, r *http.Request) (*http.Response, *bufio.Reader, error) {
	out := r.Clone(r.Context())
	for _, name := range strings.Split(r.Header.Get("Connection"), ",") {
		out.Header.Del(strings.TrimSpace(name))
	}
	for name := range hopByHop {
		out.Header.Del(name)
	}
	dropOwnCookies(out.Header)
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // otherwise Go sends its own
	}
	out.Header.Set("X-Request-Id", requestID(r))
	passTrace(r.Context(), out.Header, shoal.EnvdPort, false)
	out.URL.Host, out.URL.Scheme, out.Close = r.Host, "http", true
	out.Body, out.ContentLength = nil, 0
	if err := out.Write(conn); err != nil {
		return nil, nil, err
	}
	bounded := &io.LimitedReader{R: conn, N: bulkHead}
	reader := bufio.NewReaderSize(bounded, 4<<10)
	resp, err := http.ReadResponse(reader, out)
	bounded.N = math.MaxInt64
	return resp, reader, err
}

// move copies the body to the client. If its length is known, it is taken directly from the
// connection, after the part that was read together with the head.
func move(w http.ResponseWriter, resp *http.Response, reader *bufio.Reader, conn *trackedConn) error {
	tcp, ok := conn.Conn.(*net.TCPConn)
	if resp.ContentLength < bulkFrom || !ok {
		_, err := io.Copy(w, resp.Body)
		return err
	}
	buffered := int64(reader.Buffered())
	if _, err := io.CopyN(w, resp.Body, buffered); err != nil {
		return err
	}
	left := resp.ContentLength - buffered
	wakeFor(tcp, bulkWake)
	if err := copyExactly(w, tcp, left-bulkTail); err != nil {
		return err
	}
	wakeFor(tcp, 1) // the rest is less than the threshold
	return copyExactly(w, tcp, bulkTail)
}

func copyExactly(w io.Writer, tcp *net.TCPConn, n int64) error {
	copied, err := io.Copy(w, &io.LimitedReader{R: tcp, N: n})
	if err == nil && copied != n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// isBulkUpload reports whether a request's body is a large file that the host's kernel can move from the
// client's connection.
func isBulkUpload(r *http.Request, rt route) bool {
	return movesFile(r, rt) && r.ProtoMajor == 1 && r.TLS == nil && r.ContentLength >= bulkFrom
}

// moveFrom moves what may be moved of a request's body, which is none of others' bodies. The last part is left,
// so that the server sees the end of the body itself.
func (c *trackedConn) moveFrom(r io.Reader, buffer []byte) (moved int64, err error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return 0, nil
	}
	body, ok := limited.R.(*bodyReader)
	tcp, isTCP := c.Conn.(*net.TCPConn)
	if !ok || !isTCP || limited.N <= bulkTail {
		return 0, nil
	}
	client := body.comesFrom()
	if client == nil {
		return 0, nil
	}
	sink, err := splice.NewSink(tcp)
	if err != nil {
		return 0, nil //nolint:nilerr // where no pipe can be had, the body is copied
	}
	defer sink.Close()
	wakeFor(client.TCPConn, bulkWake)
	defer wakeFor(client.TCPConn, 1) // the rest is less than the threshold
	for limited.N > bulkTail {
		n, through, err := body.read(buffer, sink)
		if !through && n > 0 {
			if _, writeErr := c.Conn.Write(buffer[:n]); writeErr != nil {
				return moved, writeErr
			}
		}
		moved += int64(n)
		limited.N -= int64(n)
		if err != nil {
			return moved, err
		}
	}
	return moved, nil
}

func wakeFor(tcp *net.TCPConn, bytes int) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// Best effort: without it, the process is only woken more often.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes)
	})
}
