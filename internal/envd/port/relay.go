package port

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	dialTime    = 5 * time.Second       // to a listener on loopback
	acceptPause = 10 * time.Millisecond // while out of descriptors
)

// relay accepts at the external address and connects each client to a
// loopback listener of the same port. It owns a goroutine that accepts and two
// per connection; close waits for all of them.
type relay struct {
	target   string
	listener net.Listener
	context  context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	open     atomic.Int64 // connections
}

// openRelay listens at the address; Go sets SO_REUSEADDR.
func openRelay(ip net.IP, l listener) (*relay, error) {
	ln, err := net.Listen("tcp4", net.JoinHostPort(ip.String(), strconv.Itoa(int(l.port))))
	if err != nil {
		return nil, fmt.Errorf("forward port %d: %w", l.port, err)
	}
	r := &relay{target: l.target(), listener: ln}
	r.context, r.cancel = context.WithCancel(context.Background())
	r.running.Go(r.accept)
	return r, nil
}

// stop refuses new clients; those that are connected go on until their server
// or they hang up.
func (r *relay) stop() { _ = r.listener.Close() }

// idle reports whether no client is connected.
func (r *relay) idle() bool { return r.open.Load() == 0 }

// close ends all connections, too.
func (r *relay) close() {
	r.stop()
	r.cancel()
	r.running.Wait()
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
				return
			}
			select {
			case <-time.After(acceptPause):
				continue
			case <-r.context.Done():
				return
			}
		}
		r.open.Add(1)
		r.running.Go(func() {
			defer r.open.Add(-1)
			r.serve(client)
		})
	}
}

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	dialer := net.Dialer{Timeout: dialTime}
	server, err := dialer.DialContext(r.context, "tcp", r.target)
	if err != nil {
		return // the client sees its connection closed
	}
	defer server.Close()
	stop := context.AfterFunc(r.context, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var answering sync.WaitGroup
	answering.Go(func() { copyHalf(client, server) })
	copyHalf(server, client)
	answering.Wait()
}

// copyHalf copies until the sender is done and passes that on, so that the
// other direction can still finish. After an error both directions end.
func copyHalf(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		_ = from.Close()
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
