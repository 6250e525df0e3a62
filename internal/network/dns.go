package network

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/egress"
)

const (
	resolverFile = "/etc/resolv.conf"
	dnsTimeout   = 5 * time.Second
)

// Bounds of the forwarder. A slot's rules bound the rate (maxQueryRate) and the number of
// TCP connections (maxResolverFlows) besides.
const (
	// maxQueries is how many queries of all guests are in flight; maxGuestQueries is the same
	// for one guest, and scarceQueries when half of maxQueries are.
	maxQueries      = 512
	maxGuestQueries = 64
	scarceQueries   = 8
	// maxDNSConns is how many TCP connections all guests have to the forwarder, and scarceConns
	// how many one has when half of them are open.
	maxDNSConns = 256
	scarceConns = 2
	// dnsIdle is how long a TCP connection may be silent, and dnsLife how old it may become.
	dnsIdle = 2 * time.Second
	dnsLife = 20 * time.Second
	// maxQuery and maxUDPAnswer bound a query and an answer by UDP, in bytes.
	maxQuery     = 4096
	maxUDPAnswer = 4096
)

// forwarder answers guests' DNS queries by asking the host's resolvers. Guests send their
// queries to resolverIP, and the host's rules redirect them here. Queries that a guest's
// policy denies are redirected to another port, where all are refused: a silent resolver
// would keep programs waiting.
type forwarder struct {
	upstreams []netip.AddrPort // if empty, resolverFile is read for each query
	guests    netip.Prefix
	log       *slog.Logger
	udp       *dns.Server
	tcp       *dns.Server
	refusing  *dns.Server // UDP; to a denied TCP connection the slot's rules say no
	closing   sync.Once
	queries   *guestShares
	counter   *prometheus.CounterVec // by outcome
	strangers *strangers
}

// newForwarder listens on the same port for UDP and TCP, and on another for denied queries.
func newForwarder(upstreams []netip.AddrPort, plan plan, steward *egress.Steward, log *slog.Logger) (*forwarder, error) {
	f := &forwarder{upstreams: upstreams, guests: plan.host, log: log, queries: newQueries(),
		counter: newQueryCounter(), strangers: newStrangers(steward)}
	packets, listener, err := listenBoth("")
	if err != nil {
		return nil, err
	}
	denied, err := listenUDP("")
	if err != nil {
		packets.Close()
		listener.Close()
		return nil, err
	}
	f.udp = &dns.Server{PacketConn: packets, Handler: f, UDPSize: maxQuery}
	conns := &guestShares{All: maxDNSConns, Each: maxResolverFlows, Scarce: scarceConns}
	f.tcp = &dns.Server{Listener: guestsOnly(listener, plan, conns, dnsLife), Handler: f, ReadTimeout: dnsIdle,
		IdleTimeout: func() time.Duration { return dnsIdle }}
	f.refusing = &dns.Server{PacketConn: denied, Handler: dns.HandlerFunc(f.refuse)}
	return f, nil
}

func newQueries() *guestShares {
	return &guestShares{All: maxQueries, Each: maxGuestQueries, Scarce: scarceQueries}
}

func portOf(packets net.PacketConn) uint16 { return uint16(packets.LocalAddr().(*net.UDPAddr).Port) }

func (f *forwarder) port() uint16        { return portOf(f.udp.PacketConn) }
func (f *forwarder) refusalPort() uint16 { return portOf(f.refusing.PacketConn) }

// serve answers queries until close is called.
func (f *forwarder) serve() {
	var all sync.WaitGroup
	for _, s := range []*dns.Server{f.udp, f.tcp, f.refusing} {
		all.Go(func() {
			if err := s.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				f.log.Error("the DNS forwarder failed", "error", err)
			}
		})
	}
	all.Wait()
}

func (f *forwarder) close() {
	f.closing.Do(func() {
		for _, s := range []*dns.Server{f.udp, f.tcp, f.refusing} {
			_ = s.Shutdown()
		}
		f.udp.PacketConn.Close()
		f.tcp.Listener.Close()
		f.refusing.PacketConn.Close()
	})
}

// asker returns the guest that sent a query; queries from other addresses are not answered.
func (f *forwarder) asker(w dns.ResponseWriter) (netip.Addr, bool) {
	from, err := netip.ParseAddrPort(w.RemoteAddr().String())
	return from.Addr().Unmap(), err == nil && f.guests.Contains(from.Addr().Unmap())
}

// refuse answers a query that the guest's policy denies.
func (f *forwarder) refuse(w dns.ResponseWriter, query *dns.Msg) {
	if _, ok := f.asker(w); ok {
		f.counter.WithLabelValues(dnsRefused).Inc()
		_ = w.WriteMsg(new(dns.Msg).SetRcode(query, dns.RcodeRefused))
	}
}

// ServeDNS forwards a guest's query.
func (f *forwarder) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	guest, ok := f.asker(w)
	if !ok {
		return
	}
	if !lookup(query) {
		f.refuse(w, query)
		return
	}
	strange, ok := f.strangers.admit(guest, query)
	if !ok {
		f.refuse(w, query)
		return
	}
	failure := new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
	if !f.queries.Take(guest, 1) {
		f.counter.WithLabelValues(dnsCrowded).Inc()
		_ = w.WriteMsg(failure) // the guest will retry
		return
	}
	defer f.queries.Give(guest, 1)
	network := w.LocalAddr().Network()
	ctx, cancel := context.WithTimeout(context.Background(), dnsTimeout)
	defer cancel()
	for _, server := range f.servers() {
		client := &dns.Client{Net: network, Timeout: dnsTimeout / 2}
		answer, _, err := client.ExchangeContext(ctx, query, server)
		if err != nil {
			f.log.Debug("a resolver did not answer", "resolver", server, "error", err)
			continue
		}
		f.counter.WithLabelValues(dnsAnswered).Inc()
		if strange {
			onlyAddresses(answer)
		}
		fit(answer, query, network)
		_ = w.WriteMsg(answer) // the guest may be gone
		return
	}
	f.counter.WithLabelValues(dnsFailed).Inc()
	_ = w.WriteMsg(failure)
}

// lookup reports whether a query asks for the records of one name. What else there is in
// DNS, such as updates and transfers of zones, is between servers and their administrators.
func lookup(query *dns.Msg) bool {
	transfers := []uint16{dns.TypeAXFR, dns.TypeIXFR}
	return query.Opcode == dns.OpcodeQuery && !query.Response && len(query.Question) == 1 &&
		!slices.Contains(transfers, query.Question[0].Qtype) && query.Len() <= maxQuery
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
		size = min(max(size, int(opt.UDPSize())), maxUDPAnswer)
	}
	answer.Truncate(size)
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
