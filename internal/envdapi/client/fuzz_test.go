package client

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzAnswer holds every call to its bounds while the guest's daemon answers with any bytes
// at all: the host dials nothing but the guest, reads no more than it may, believes no
// impossible number, and repeats little of what it was told. With a head the answer is the
// body of one that the call takes.
func FuzzAnswer(f *testing.F) {
	f.Add("", uint8(0), false)
	f.Add("HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", uint8(1), false)
	f.Add("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", uint8(0), false)
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n{", uint8(2), false)
	f.Add(`{"cpu_count":2,"cpu_used_pct":1,"mem_total":3,"mem_used":2,"disk_total":3,"disk_used":1}`, uint8(2), true)
	f.Add(`{"cpu_count":9999,"cpu_used_pct":1e308,"mem_total":-1}`, uint8(2), true)
	f.Add("\n\x00", uint8(4), true)
	f.Add(printed(f, "text")+message(flagLast, 2, []byte("{}")), uint8(5), true)
	f.Add(message(0, 2_000_000_000, []byte("A")), uint8(5), true)
	f.Add(message(flagCompressed, 3, []byte("\x1f\x8b\x08")), uint8(5), true)
	f.Add(message(flagLast, 50, []byte(`{"error":{"code":"not_found","message":"nothing"}}`)), uint8(5), true)
	names := []string{"health", "init", "metrics", "file", "stat", "command", "warm-up"}
	f.Fuzz(func(t *testing.T, answer string, call uint8, head bool) {
		name := names[int(call)%len(names)]
		if head {
			answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/" +
				map[string]string{"stat": "proto", "command": "connect+proto", "warm-up": "connect+json"}[name] +
				"\r\n\r\n" + answer
		}
		var read atomic.Int64
		c := New("192.0.2.1", "token", func(g *guarded) {
			g.bodyTime = time.Second
			g.http.DialContext = func(_ context.Context, network, address string) (net.Conn, error) {
				if address != "192.0.2.1:49983" {
					t.Errorf("the host dials %s", address)
				}
				host, guest := net.Pipe()
				go answerOnce(guest, answer)
				return countedConn{host, &read}, nil
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var err error
		switch name {
		case "health", "init": // once, since these are repeated
			_, err = c.status(ctx, http.MethodPost, "/"+name, []byte("{}"))
		case "metrics":
			m, failed := c.Metrics(ctx)
			if err = failed; err == nil && (m.CPUCount < 1 || m.CPUCount > maxCPUs || m.CPUUsedPct < 0 ||
				m.CPUUsedPct > 100*maxCPUs || m.MemUsed < 0 || m.MemTotal < m.MemUsed || m.MemCache < 0 ||
				m.DiskUsed < 0 || m.DiskTotal < m.DiskUsed) {
				t.Errorf("believed: %+v", m)
			}
		default:
			err = calls[name](ctx, c)
		}
		if err != nil && len(err.Error()) > 2*maxText {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if ctx.Err() != nil {
			t.Error("the call took too long")
		}
		if most := int64(maxHead + maxAnswer + maxDrain + 64<<10); !streams[name] && read.Load() > most {
			t.Errorf("%d bytes were read, more than %d", read.Load(), most)
		}
	})
}

// answerOnce reads a request, answers, and hangs up. It ends with the call, which closes the
// other end.
func answerOnce(guest net.Conn, answer string) {
	defer guest.Close()
	if req, err := http.ReadRequest(bufio.NewReader(guest)); err == nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.Copy(guest, strings.NewReader(answer))
	}
}

type countedConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}
