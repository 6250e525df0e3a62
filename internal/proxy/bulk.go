package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

// Files come out of a guest as fast as its daemon can send, and what limits them
// is how often their bytes are copied and how often this process is woken. So a
// download over HTTP/1.1 has a connection of its own, from which the kernel moves
// the body to the client without showing it to this process, and it wakes this
// process for more than a packet at once.
//
// Only the daemon's files go this way: another service may be slow on purpose,
// and must not be held back.
const (
	bulkFrom = 4 << 20   // bytes of a body that is worth waking for in bulk
	bulkWake = 512 << 10 // bytes to be woken for
	bulkTail = 2 * bulkWake
)

// isBulk tells a request whose answer may be a large file, on a connection that
// its bytes can be moved to. A compressed file has no length beforehand and is
// streamed like anything else.
func isBulk(r *http.Request, rt route, target Target) bool {
	compressed := strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept-Encoding"), ",")), "gzip")
	return rt.port == shoal.EnvdPort && r.Method == http.MethodGet && r.URL.Path == envdapi.FilesPath && r.ProtoMajor == 1 && target.Node == "" && !compressed
}

// download forwards a request for a file. Like forward it returns true if nothing was
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
	stop := context.AfterFunc(r.Context(), func() { conn.Close() }) // the client is gone
	defer stop()
	resp, reader, err := ask(conn, r)
	if err != nil {
		return h.upstreamFailed(w, r, rt, target, err)
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		if !hopByHop[name] {
			w.Header()[name] = values
		}
	}
	if resp.ContentLength >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	w.WriteHeader(resp.StatusCode)
	if err := move(w, resp, reader, conn.(*trackedConn)); err != nil {
		h.log.Debug("a download was cut off", "sandbox", rt.sandboxID, "error", err)
		panic(http.ErrAbortHandler) // the status is sent: only a cut connection can say it
	}
	return false
}

// hopByHop headers concern one connection, not the answer.
var hopByHop = map[string]bool{"Connection": true, "Keep-Alive": true, "Transfer-Encoding": true, "Upgrade": true, "Trailer": true, "Content-Length": true}

// ask sends the request, as the client sent it but for what concerns its own
// connection, and reads the head of the answer.
func ask(conn net.Conn, r *http.Request) (*http.Response, *bufio.Reader, error) {
	out := r.Clone(r.Context())
	for _, name := range strings.Split(r.Header.Get("Connection"), ",") {
		out.Header.Del(strings.TrimSpace(name))
	}
	for name := range hopByHop {
		out.Header.Del(name)
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // or Go's own is put in its place
	}
	out.Header.Set("X-Request-Id", requestID(r))
	out.URL.Host, out.URL.Scheme, out.Close = r.Host, "http", true
	out.Body, out.ContentLength = nil, 0
	if err := out.Write(conn); err != nil {
		return nil, nil, err
	}
	reader := bufio.NewReaderSize(conn, 4<<10)
	resp, err := http.ReadResponse(reader, out)
	return resp, reader, err
}

// move copies the body to the client. One of known length is taken from the
// connection itself, behind what was read with the head.
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
	wakeFor(tcp, 1) // fewer bytes are left than would wake anybody
	return copyExactly(w, tcp, bulkTail)
}

func copyExactly(w io.Writer, tcp *net.TCPConn, n int64) error {
	copied, err := io.Copy(w, &io.LimitedReader{R: tcp, N: n})
	if err == nil && copied != n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func wakeFor(tcp *net.TCPConn, bytes int) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// Where the kernel refuses, it wakes more often and nothing else.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes) })
}
