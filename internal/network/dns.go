package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	resolverFile = "/etc/resolv.conf"
	dnsTimeout   = 5 * time.Second

	maxQueries      = 512 // in flight, from all guests
	maxGuestQueries = 64  // in flight, from one guest
)

// forwarder answers guests' DNS queries by asking the host's resolvers. Guests send their
// queries to 8.8.8.8, and the host's rules redirect them here.
type forwarder struct {
	upstreams []netip.AddrPort // if empty, resolverFile is read for each query
	guests    netip.Prefix
	log       *slog.Logger
	udp       *dns.Server
	tcp       *dns.Server
	closing   sync.Once

	mu       sync.Mutex
	inFlight map[netip.Addr]int // by guest
	total    int
}

// newForwarder listens on the same port for UDP and TCP.
func newForwarder(upstreams []netip.AddrPort, guests netip.Prefix, log *slog.Logger) (*forwarder, error) {
	f := &forwarder{upstreams: upstreams, guests: guests, log: log, inFlight: map[netip.Addr]int{}}
	packets, listener, err := listenBoth()
	if err != nil {
		return nil, err
	}
	f.udp = &dns.Server{PacketConn: packets, Handler: f}
	f.tcp = &dns.Server{Listener: listener, Handler: f}
	return f, nil
}

// portTries bounds the search for a port that is free for both protocols. A TCP connection
// may already use the port that the kernel picks for UDP.
const portTries = 50

func listenBoth() (packets net.PacketConn, listener net.Listener, err error) {
	for range portTries {
		if packets, err = net.ListenPacket("udp4", ":0"); err != nil {
			return nil, nil, err
		}
		if listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", packets.LocalAddr().(*net.UDPAddr).Port)); err == nil {
			return packets, listener, nil
		}
		packets.Close()
	}
	return nil, nil, err
}

func (f *forwarder) port() uint16 { return uint16(f.udp.PacketConn.LocalAddr().(*net.UDPAddr).Port) }

// serve answers queries until close is called.
func (f *forwarder) serve() {
	var both sync.WaitGroup
	for _, s := range []*dns.Server{f.udp, f.tcp} {
		both.Go(func() {
			if err := s.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				f.log.Error("the DNS forwarder failed", "error", err)
			}
		})
	}
	both.Wait()
}

func (f *forwarder) close() {
	f.closing.Do(func() {
		_ = f.udp.Shutdown()
		_ = f.tcp.Shutdown()
		f.udp.PacketConn.Close()
		f.tcp.Listener.Close()
	})
}

// ServeDNS forwards a guest's query. Queries from other addresses are not answered.
func (f *forwarder) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	asker, err := netip.ParseAddrPort(w.RemoteAddr().String())
	if err != nil || !f.guests.Contains(asker.Addr().Unmap()) {
		return
	}
	network, guest := w.LocalAddr().Network(), asker.Addr().Unmap()
	failure := new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
	if !f.enter(guest) {
		_ = w.WriteMsg(failure) // the guest will retry
		return
	}
	defer f.leave(guest)
	ctx, cancel := context.WithTimeout(context.Background(), dnsTimeout)
	defer cancel()
	for _, server := range f.servers() {
		client := &dns.Client{Net: network, Timeout: dnsTimeout / 2}
		answer, _, err := client.ExchangeContext(ctx, query, server)
		if err != nil {
			f.log.Debug("a resolver did not answer", "resolver", server, "error", err)
			continue
		}
		fit(answer, query, network)
		_ = w.WriteMsg(answer) // the guest may be gone
		return
	}
	_ = w.WriteMsg(failure)
}

// fit truncates an answer to the size that the guest accepts. Packing an answer again can
// make it larger than it was when it arrived.
func fit(answer, query *dns.Msg, network string) {
	answer.Compress = true
	if network != "udp" {
		return
	}
	size := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
	}
	answer.Truncate(size)
}

// enter admits a query, or refuses it if too many are in flight, so that a guest cannot
// use up the file descriptors of this process.
func (f *forwarder) enter(guest netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total >= maxQueries || f.inFlight[guest] >= maxGuestQueries {
		return false
	}
	f.total++
	f.inFlight[guest]++
	return true
}

func (f *forwarder) leave(guest netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	if f.inFlight[guest]--; f.inFlight[guest] == 0 {
		delete(f.inFlight, guest)
	}
}

func (f *forwarder) servers() []string {
	var list []string
	for _, u := range f.upstreams {
		list = append(list, u.String())
	}
	if len(list) > 0 {
		return list
	}
	conf, err := dns.ClientConfigFromFile(resolverFile)
	if err != nil {
		f.log.Warn("cannot read the host's resolvers", "error", err)
		return nil
	}
	for _, s := range conf.Servers {
		list = append(list, net.JoinHostPort(s, conf.Port))
	}
	return list
}
