package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// ask sends a DNS query for name.test from a namespace, "" for the host's.
func (w *world) ask(ns, network, server string, within time.Duration) (*dns.Msg, error) {
	client := &dns.Client{Net: network, Timeout: within}
	var conn *dns.Conn
	dial := func() (err error) {
		conn, err = client.Dial(server)
		return err
	}
	var err error
	if ns == "" {
		err = dial()
	} else {
		err = inNamespace(ns, dial)
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("name.test.", dns.TypeA), conn)
	return answer, err
}

// dialFrom connects from a namespace and reports how long that took.
func (w *world) dialFrom(ns, network, address string, limit time.Duration) (net.Conn, time.Duration, error) {
	var c net.Conn
	began := time.Now()
	err := inNamespace(ns, func() (err error) {
		c, err = net.DialTimeout(network, address, limit)
		return err
	})
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
	}
	return c, time.Since(began), err
}

// TestRefusedAtOnce: what a guest may not reach is refused and not dropped, so that its
// programs do not wait.
func TestRefusedAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	no := false
	w.egress(shoal.Network{AllowInternet: &no})
	for _, address := range []string{internetIP + ":80", privateIP + ":80", "169.254.169.254:80", "192.0.2.1:81", "8.8.8.8:53"} {
		if _, took, err := w.dialFrom("t-guest", "tcp4", address, arrivalTime); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("TCP to %s: %v after %s", address, err, took)
		}
		if address == "8.8.8.8:53" {
			continue // see TestDNSFollowsThePolicy
		}
		c, _, err := w.dialFrom("t-guest", "udp4", address, arrivalTime)
		w.must(err)
		_ = c.SetDeadline(time.Now().Add(arrivalTime))
		_, err = c.Write([]byte("x"))
		w.must(err)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("UDP to %s: %v", address, err)
		}
	}
}

// TestRefusalsAreBounded: a guest is told of each of many packets, but not of a flood.
func TestRefusalsAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	no := false
	w.egress(shoal.Network{AllowInternet: &no})
	const some = 100 // far more than the kernel's own limit lets through
	for i := range some {
		c, _, err := w.dialFrom("t-guest", "udp4", internetIP+":"+strconv.Itoa(1000+i), arrivalTime)
		w.must(err)
		_ = c.SetDeadline(time.Now().Add(arrivalTime))
		_, err = c.Write([]byte("x"))
		w.must(err)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.EHOSTUNREACH) {
			t.Fatalf("packet %d: %v", i, err)
		}
		c.Close()
	}
	// As a socket hears one answer at a time, what is refused and not heard is told by time: all
	// but the burst and what a second lets through are lost.
	const flood = 8 * maxRefusalBurst
	c, _, err := w.dialFrom("t-guest", "udp4", internetIP+":80", arrivalTime)
	w.must(err)
	refused := 0
	began := time.Now()
	for range flood {
		if _, err := c.Write([]byte("x")); err != nil {
			refused++
		}
	}
	most := maxRefusalBurst + int(time.Since(began).Seconds()*maxRefusalRate) + 1
	if refused > most {
		t.Errorf("%d of %d packets were refused in %s, want %d at most", refused, flood, time.Since(began), most)
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// TestDNSFollowsThePolicy: the forwarder answers a guest that may reach its resolver, and
// nobody else's queries, whichever addresses else the policy allows.
func TestDNSFollowsThePolicy(t *testing.T) {
	resolver := startResolver(t)
	w := newWorld(t, func(c *Config) { c.DNSUpstreams = []netip.AddrPort{resolver} })
	// A resolver of its own at one of the internet's addresses, which knows no name.
	var packets net.PacketConn
	w.must(inNamespace("t-inet", func() (err error) {
		packets, err = net.ListenPacket("udp4", otherIP+":53")
		return err
	}))
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })

	all, no := []string{"0.0.0.0/0"}, false
	for _, c := range []struct {
		name   string
		policy shoal.Network
		server string
		want   int // rcode
	}{
		{"open", shoal.Network{}, resolverIP.String(), dns.RcodeSuccess},
		{"open, another resolver", shoal.Network{}, otherIP, dns.RcodeNameError},
		{"no internet", shoal.Network{AllowInternet: &no}, resolverIP.String(), dns.RcodeRefused},
		{"everything denied", shoal.Network{DenyOut: all}, resolverIP.String(), dns.RcodeRefused},
		{"the resolver denied", shoal.Network{DenyOut: []string{"8.8.0.0/16"}}, resolverIP.String(), dns.RcodeRefused},
		{"one address allowed", shoal.Network{DenyOut: all, AllowOut: []string{otherIP}}, resolverIP.String(), dns.RcodeRefused},
		{"and asked", shoal.Network{DenyOut: all, AllowOut: []string{otherIP}}, otherIP, dns.RcodeNameError},
		{"the resolver allowed", shoal.Network{DenyOut: all, AllowOut: []string{"8.8.8.8"}}, resolverIP.String(), dns.RcodeSuccess},
	} {
		w.egress(c.policy)
		answer, err := w.ask("t-guest", "udp4", c.server+":53", arrivalTime)
		if err != nil || answer.Rcode != c.want {
			t.Errorf("%s: %v %v, want %s", c.name, answer, err, dns.RcodeToString[c.want])
		}
	}
}

// TestServicesAnswerGuestsOnly: DNS and the node service answer at the addresses that guests
// know and at none of the host's, and what does not come by a slot's link is not answered.
func TestServicesAnswerGuestsOnly(t *testing.T) {
	resolver := startResolver(t)
	w := newWorld(t, func(c *Config) { c.DNSUpstreams = []netip.AddrPort{resolver} })
	w.egress(shoal.Network{})
	if _, err := w.ask("t-guest", "udp4", "8.8.8.8:53", arrivalTime); err != nil {
		t.Fatal(err)
	}
	at := w.pool.ports()
	const public = "198.51.100.254" // the host's
	link := w.slot.plan.vethHost(w.slot.index).String()
	for _, c := range []struct{ ns, network, server string }{
		{"t-guest", "udp4", public + ":53"},
		{"t-guest", "tcp4", public + ":53"},
		{"t-guest", "udp4", fmt.Sprintf("%s:%d", public, at.dns)},
		{"t-guest", "tcp4", fmt.Sprintf("%s:%d", public, at.dns)},
		{"t-guest", "tcp4", fmt.Sprintf("%s:%d", public, at.hyperloop)},
		{"t-guest", "udp4", fmt.Sprintf("%s:%d", public, at.refusedDNS)},
		{"t-guest", "udp4", fmt.Sprintf("%s:%d", link, at.dns)},
		{"t-inet", "udp4", fmt.Sprintf("%s:%d", public, at.dns)},
		{"t-inet", "tcp4", fmt.Sprintf("%s:%d", public, at.dns)},
		{"t-inet", "tcp4", fmt.Sprintf("%s:%d", public, at.hyperloop)},
		{"", "udp4", fmt.Sprintf("127.0.0.1:%d", at.dns)},
		{"", "tcp4", fmt.Sprintf("127.0.0.1:%d", at.dns)},
		{"", "udp4", fmt.Sprintf("%s:%d", public, at.refusedDNS)},
	} {
		if answer, err := w.ask(c.ns, c.network, c.server, silence); err == nil {
			t.Errorf("%s to %s from %q is answered: %v", c.network, c.server, c.ns, answer)
		}
	}
}

// TestResolverConnections: a guest has few TCP connections to the forwarder, and those that
// are silent end.
func TestResolverConnections(t *testing.T) {
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	var first net.Conn
	for n := range maxResolverFlows {
		c, _, err := w.dialFrom("t-guest", "tcp4", "8.8.8.8:53", arrivalTime)
		if err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		if first == nil {
			first = c
		}
	}
	if _, _, err := w.dialFrom("t-guest", "tcp4", "8.8.8.8:53", arrivalTime); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("one more: %v", err)
	}
	w.reaches("http://" + internetIP)
	if !ends(first) {
		t.Error("a silent connection stays open")
	}
}

// TestQueryRate: of a flood of queries, only so many come through.
func TestQueryRate(t *testing.T) {
	resolver := startResolver(t)
	w := newWorld(t, func(c *Config) { c.DNSUpstreams = []netip.AddrPort{resolver} })
	for name, policy := range map[string]shoal.Network{"answered": {}, "refused": {DenyOut: []string{"0.0.0.0/0"}}} {
		w.egress(policy)
		c, _, err := w.dialFrom("t-guest", "udp4", "8.8.8.8:53", arrivalTime)
		w.must(err)
		query, err := new(dns.Msg).SetQuestion("name.test.", dns.TypeA).Pack()
		w.must(err)
		answers, buffer := 0, make([]byte, 4096)
		began := time.Now()
		for time.Since(began) < time.Second {
			_, err := c.Write(query)
			w.must(err)
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if _, err := c.Read(buffer); err == nil {
				answers++
			}
		}
		most := maxQueryBurst + int(time.Since(began).Seconds()*maxQueryRate)*2
		if answers < maxQueryBurst/2 || answers > most {
			t.Errorf("%s: %d queries were answered in a second, want at most %d", name, answers, most)
		}
	}
}

// TestMetadataIsDenied: metadata services outside the private ranges are denied too, unless
// the operator opens that very address.
func TestMetadataIsDenied(t *testing.T) {
	const metadata = "168.63.129.16"
	for opened, want := range map[string]bool{"": false, "168.63.0.0/16": false, metadata + "/32": true} {
		t.Run("opened "+opened, func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				if opened != "" {
					c.AllowInternal = prefixes(opened)
				}
			})
			w.remote("t-meta", "t-m0", metadata, "168.63.129.254")
			w.egress(shoal.Network{AllowOut: []string{metadata}})
			if want {
				w.reaches("http://" + metadata)
			} else {
				w.blocked("http://" + metadata)
			}
		})
	}
}

// TestInvalidPackets: a packet that belongs to no connection and opens none does not leave
// the slot, where it would have the guest's own address.
func TestInvalidPackets(t *testing.T) {
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	link, err := net.InterfaceByName(w.slot.plan.linkName(w.slot.index))
	w.must(err)
	const allProtocols = 0x0300 // ETH_P_ALL in network order
	sniffer, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, allProtocols)
	w.must(err)
	defer unix.Close(sniffer)
	w.must(unix.Bind(sniffer, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: link.Index}))
	w.must(inNamespace("t-guest", func() error {
		raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(raw)
		to := netip.MustParseAddr(internetIP).As4()
		for _, flags := range []byte{0x04, 0x11, 0x00, 0x3f} { // RST; FIN and ACK; none; all
			segment := make([]byte, 20)
			segment[0], segment[3], segment[12], segment[13] = 0x30, 80, 5<<4, flags
			checksum(segment, guestIP, netip.AddrFrom4(to))
			if err := unix.Sendto(raw, segment, 0, &unix.SockaddrInet4{Addr: to}); err != nil {
				return err
			}
		}
		return nil
	}))
	w.reaches("http://" + internetIP) // by then, the earlier packets have been seen
	packet := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(sniffer, packet, unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		if n >= 20 && netip.AddrFrom4([4]byte(packet[12:16])) == guestIP {
			t.Errorf("a packet has left the slot as the guest sent it: % x", packet[:n])
		}
	}
}

// checksum completes a TCP segment (RFC 9293 section 3.1).
func checksum(segment []byte, from, to netip.Addr) {
	sum := uint32(unix.IPPROTO_TCP + len(segment))
	for _, part := range [][]byte{from.AsSlice(), to.AsSlice(), segment} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(part[i])<<8 | uint32(part[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	segment[16], segment[17] = byte(^sum>>8), byte(^sum)
}

// TestManyRules: lists as long as a policy may have take effect, however they are scattered,
// and so does what replaces them.
func TestManyRules(t *testing.T) {
	w := newWorld(t, nil)
	scattered := []string{internetIP}
	for i := range MaxRules - 1 {
		scattered = append(scattered, netip.AddrFrom4([4]byte{8, byte(i >> 8), byte(i), 9}).String())
	}
	began := time.Now()
	w.egress(shoal.Network{DenyOut: scattered})
	t.Logf("%d rules took %s", len(scattered), time.Since(began))
	w.blocked("http://" + internetIP)
	w.reaches("http://" + otherIP)
	w.egress(shoal.Network{DenyOut: scattered[1:]})
	w.reaches("http://" + internetIP)
}
