// Package endpoint opens the addresses that the roles listen on, serves HTTP on them, and
// lets requests in flight finish at shutdown.
package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"shoal/internal/doctor"
	"shoal/internal/shares"
	"shoal/internal/splice"
)

// drainTime is how long requests in flight may take after a shutdown is requested.
const drainTime = 10 * time.Second

// Listeners are open TCP listeners.
type Listeners []net.Listener

// Listen opens all addresses, in their order, or none. If a port is taken, the error names
// the process that uses it.
func Listen(addrs ...string) (Listeners, error) {
	var list Listeners
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			list.Close()
			return nil, explain(addr, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// Close closes all of them; a server may have closed some already.
func (list Listeners) Close() {
	for _, l := range list {
		l.Close()
	}
}

func explain(addr string, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%s is in use by %s; end it or choose another address (see shoal up --help)", addr, doctor.PortHolder(addr))
	}
	return fmt.Errorf("listen on %s: %w", addr, err)
}

// Endpoint is an HTTP server with the listeners that it serves.
type Endpoint struct {
	Name      string // in logs and errors
	Listeners Listeners
	Server    *http.Server
	Public    bool // anybody can reach it, so its connections are bounded
	// TLS is ended here if it is set; the server gets it. A handshake has the time that a
	// request's head has.
	TLS *tls.Config
}

// serve serves until the server is shut down; among so many endpoints that anybody can reach.
func (e Endpoint) serve(public int) error {
	e.Server.TLSConfig = e.TLS
	if !e.Public {
		return serveAll(e.Server, e.Listeners)
	}
	all := shares.OfDescriptors(uint64(max(connectionShare, publicShare*public)), maxConnections)
	return serveBounded(e.Server, e.Listeners, all, max(all/sourceShare, 1))
}

// serveAll serves TLS if the server has settings for it. The library gives it some for
// itself as soon as it serves. Without TLS, handlers find the connection of a request by splice.Of.
func serveAll[L net.Listener](server *http.Server, listeners []L) error {
	secure := server.TLSConfig != nil
	follow := server.ConnContext
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if follow != nil {
			ctx = follow(ctx, c)
		}
		return splice.Context(ctx, c)
	}
	var g errgroup.Group
	for _, l := range listeners {
		g.Go(func() error {
			if secure {
				return server.ServeTLS(l, "", "")
			}
			return server.Serve(splice.Listener{Listener: l})
		})
	}
	return g.Wait()
}

// Serve runs endpoints until ctx ends or one of them fails, and then shuts all of them
// down, giving requests in flight drainTime to finish.
func Serve(ctx context.Context, log *slog.Logger, endpoints ...Endpoint) error {
	public := 0
	for _, e := range endpoints {
		if e.Public {
			public++
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		g.Go(func() error {
			err := e.serve(public)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serve %s: %w", e.Name, err)
		})
		g.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
			defer cancel()
			if err := e.Server.Shutdown(drain); err != nil {
				log.Warn("some requests did not finish before shutdown", "server", e.Name, "error", err)
				return e.Server.Close()
			}
			return nil
		})
	}
	return g.Wait()
}
