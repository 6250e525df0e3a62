// Package egress decides by name what sandboxes reach: the host's kernel leads TCP of those
// whose rules are about names to a process of its own on each machine, which reads whom a
// client asks for, decides, dials and relays (runtime.md §2.3). The process is a Server; the
// orchestrator's side of it is a Steward, which starts it, tells it policies and starts another
// if it ends. It outlives the orchestrator, so connections go on when that is killed.
package egress

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"shoal/internal/egress/intercept"
	"shoal/internal/shares"
)

// Bounds of the process. A connection needs two descriptors, and up to six while bytes are moved
// by the host's kernel (splice).
const (
	// maxConnections is how many all sandboxes have, or less if the process may have few files;
	// maxSandboxConnections is how many one has, and scarceConnections when half of all are open.
	maxConnections        = 65_536
	maxSandboxConnections = 4096
	scarceConnections     = 256
	descriptorShare       = 6
)

// Config is what a process is started with.
type Config struct {
	// RunDir is the installation's; the process has a socket below it.
	RunDir string
	// Build tells apart the programs that processes are of.
	Build string
	// Hosts and Links are the ranges of sandboxes' addresses and of the host's ends of their links.
	Hosts, Links netip.Prefix
	// AllowInternal are private ranges that sandboxes may reach.
	AllowInternal []netip.Prefix
	// Resolvers are asked for the addresses of names; the host's if there are none.
	Resolvers []netip.AddrPort
	// TrustCA are files of authorities that servers of transformed connections, and proxies of
	// tenants, may have their certificates of, besides the host's.
	TrustCA []string
}

// Server is the process's part that relays connections. Run ends every goroutine that it starts.
type Server struct {
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	control  net.Listener
	socket   string
	dialer   *dialer
	records  *counts // for tenants
	totals   tally   // for the operator
	since    time.Time

	interceptor *intercept.Interceptor

	mu       sync.Mutex // guards the rest; a leaf
	policies map[netip.Addr]*Policy
	open     map[netip.Addr]map[*connection]bool
	drained  time.Time     // when it was told to drain; zero before
	idle     chan struct{} // closed when a draining server has no connection
	gone     bool          // idle is closed
	serving  sync.WaitGroup
}

// NewServer takes the listener that the host's kernel leads connections to, and what gives the
// values of placeholders; nil gives none.
func NewServer(cfg Config, listener net.Listener, filler intercept.Filler, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log, policies: map[netip.Addr]*Policy{}, idle: make(chan struct{}),
		open: map[netip.Addr]map[*connection]bool{}, records: newCounts(), since: time.Now()}
	var err error
	if s.dialer, err = newDialer(cfg, log); err != nil {
		return nil, err
	}
	if filler == nil {
		filler = unfilled{}
	}
	s.interceptor = intercept.New(filler, s.dialer.roots, log)
	most := shares.OfDescriptors(descriptorShare, maxConnections)
	crowded := func(netip.Addr, bool) bool {
		s.totals.add(familyConnections, outcomeCrowded, 1)
		return false
	}
	s.listener = &shares.Listener{Listener: listener, Taker: s.guestOf, MakeRoom: crowded, Shares: &shares.Shares[netip.Addr]{
		All: most, Each: min(maxSandboxConnections, most/2), Scarce: scarceConnections}}
	s.socket = filepath.Join(socketDir(cfg.RunDir), socketName(os.Getpid()))
	if s.control, err = listenControl(s.socket); err != nil {
		return nil, err
	}
	return s, nil
}

// Port is where the host's kernel must lead connections to.
func (s *Server) Port() uint16 { return uint16(s.listener.Addr().(*net.TCPAddr).Port) }

// Run serves until ctx ends, or until a server that was told to drain has no connection left.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	control := s.controlServer(stop)
	var servers sync.WaitGroup
	servers.Go(func() { _ = control.Serve(s.control) })
	servers.Go(func() { s.accept(ctx) })
	select {
	case <-ctx.Done():
	case <-s.idle:
	}
	stop()
	s.listener.Close()
	s.closeAll()
	s.serving.Wait()
	control.Close()
	servers.Wait()
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Server) accept(ctx context.Context) {
	for {
		guest, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as a lack of descriptors, which passes
			s.log.Warn("a connection cannot be accepted", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		s.serving.Go(func() { s.serve(ctx, guest) })
	}
}

// acceptPause is how long nothing is accepted after a failure.
const acceptPause = 50 * time.Millisecond

// guestOf finds the sandbox's address of a connection. One that did not come by a sandbox's link,
// or whose sandbox has no policy here, is not for us.
func (s *Server) guestOf(c net.Conn) (netip.Addr, bool) {
	remote, local := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if !s.cfg.Hosts.Contains(remote.Addr()) || !s.cfg.Links.Contains(local.Addr()) {
		return netip.Addr{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return remote.Addr(), s.policies[remote.Addr()] != nil
}

func addrPort(a net.Addr) netip.AddrPort {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// Set makes a policy that of a sandbox's address, and ends the connections that it forbids.
func (s *Server) Set(address netip.Addr, p *Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := p.readAuthority(s.policies[address]); err != nil {
		return err
	}
	s.policies[address] = p
	for c := range s.open[address] {
		if c.settled && !p.permits(c) {
			c.end()
		}
	}
	return nil
}

// Remove forgets the policy of an address, and ends its connections.
func (s *Server) Remove(address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.policies, address)
	for c := range s.open[address] {
		c.end()
	}
}

// all are the policies by address.
func (s *Server) all() map[netip.Addr]*Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.policies)
}

// Drain takes no more connections, and lets Run end with the last.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained.IsZero() {
		s.drained = time.Now()
	}
	s.listener.Close()
	s.checkIdleLocked()
}

func (s *Server) checkIdleLocked() {
	if !s.drained.IsZero() && !s.gone && len(s.open) == 0 {
		s.gone = true
		close(s.idle)
	}
}

// enter makes a connection known, so that it can be ended from outside.
func (s *Server) enter(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.policies[c.from] == nil {
		return false
	}
	if s.open[c.from] == nil {
		s.open[c.from] = map[*connection]bool{}
	}
	s.open[c.from][c] = true
	return true
}

func (s *Server) leave(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open[c.from], c)
	if len(s.open[c.from]) == 0 {
		delete(s.open, c.from)
	}
	s.checkIdleLocked()
}

// settle decides about a connection, by the policy that holds now.
func (s *Server) settle(c *connection, said greetings) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.policies[c.from]
	if p == nil {
		return false
	}
	c.settle(p, said)
	return c.verdict != denied
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.open {
		for c := range list {
			c.end()
		}
	}
}

// state is what the process says of itself.
func (s *Server) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := state{Protocol: protocol, Build: s.cfg.Build, PID: os.Getpid(), Port: s.Port(), Since: s.since,
		Draining: !s.drained.IsZero(), DrainingSince: s.drained, Sandboxes: len(s.policies)}
	for _, list := range s.open {
		st.Connections += len(list)
	}
	return st
}
