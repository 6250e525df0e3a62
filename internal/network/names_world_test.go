package network

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"shoal/internal/certificate/certificatetest"
	"shoal/internal/egress"
	"shoal/internal/freeport"
	"shoal/internal/shoal"
)

const processEnv = "SHOAL_TEST_EGRESS"

// TestMain lets the test's program be the egress process that its stewards start.
func TestMain(m *testing.M) {
	text := os.Getenv(processEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var cfg egress.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	listener, err := ListenService()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server, err := egress.NewServer(cfg, listener, nil, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	if err := server.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// namedWorld is a world with an egress process, names on its internet and an authority that
// vouches for servers there.
type namedWorld struct {
	*world
	steward  *egress.Steward
	patience time.Duration // of stewards; 0 is the usual one
	// stopSteward ends the steward's Run, and leaves the process alone.
	stopSteward func()
	process     egress.Config
	zone        *zone
	authority   *certificatetest.Authority
}

func newNamedWorld(t *testing.T) *namedWorld { return newImpatientWorld(t, 0) }

// newImpatientWorld is one whose steward waits for so long for a process that hangs.
func newImpatientWorld(t *testing.T, patience time.Duration) *namedWorld {
	t.Helper()
	n := &namedWorld{zone: startZone(t), patience: patience}
	n.process = egress.Config{RunDir: t.TempDir(), Build: "test", Hosts: netip.MustParsePrefix("10.71.0.0/16"),
		Links:         netip.MustParsePrefix("10.72.0.0/16"),
		AllowInternal: prefixes("198.51.100.0/24"), // which is no private range, but for documentation
		Resolvers:     []netip.AddrPort{n.zone.at}}
	n.steward = n.newSteward()
	n.world = newWorld(t, func(c *Config) { c.Egress, c.DNSUpstreams = n.steward, []netip.AddrPort{n.zone.at} })
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- n.steward.Run(ctx) }()
	n.stopSteward = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		n.stopSteward()
		if err := n.steward.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	var err error
	if n.authority, err = certificatetest.New(); err != nil {
		t.Fatal(err)
	}
	return n
}

// issue makes a certificate of a server.
func (n *namedWorld) issue(names ...string) tls.Certificate {
	n.t.Helper()
	certificate, err := n.authority.Issue(names...)
	if err != nil {
		n.t.Fatal(err)
	}
	return certificate
}

func (n *namedWorld) newSteward() *egress.Steward {
	cfg := n.process
	return egress.NewSteward(egress.StewardConfig{RunDir: cfg.RunDir, Build: cfg.Build, Patience: n.patience,
		Start: func(ctx context.Context) (*os.Process, error) {
			program, err := os.Executable()
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(cfg)
			if err != nil {
				return nil, err
			}
			return egress.Launch(ctx, program, nil, append(os.Environ(), processEnv+"="+string(text)))
		}}, slog.New(slog.DiscardHandler))
}

// policy sets a policy of the guest.
func (n *namedWorld) policy(p shoal.Network) {
	n.t.Helper()
	e, err := ParsePolicy(p)
	n.must(err)
	n.must(n.slot.SetEgress(context.Background(), e.Of("sandbox", "team", nil)))
}

// only allows what is listed.
func only(allowed ...string) shoal.Network {
	return shoal.Network{AllowOut: allowed, DenyOut: []string{"0.0.0.0/0"}}
}

// zone is a DNS server of the tests.
type zone struct {
	at      netip.AddrPort
	mu      sync.Mutex
	answers map[string][]string // addresses in turn, by name with a dot at its end
	asked   []string
}

func startZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{at: netip.MustParseAddrPort(freeport.Address(freeport.Of(t))), answers: map[string][]string{}}
	packets, err := net.ListenPacket("udp4", z.at.String())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", z.at.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: z}, {Listener: listener, Handler: z}} {
		go func() { _ = server.ActivateAndServe() }()
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return z
}

// set gives a name addresses, of which each question gets the next.
func (z *zone) set(name string, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.answers[dns.Fqdn(name)] = addresses
}

func (z *zone) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := query.Question[0]
	z.asked = append(z.asked, q.Name)
	answer := new(dns.Msg).SetReply(query)
	list := z.answers[q.Name]
	if len(list) == 0 {
		answer.SetRcode(query, dns.RcodeNameError)
	} else if q.Qtype == dns.TypeA {
		answer.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
			A: net.ParseIP(list[0])}}
		z.answers[q.Name] = append(list[1:], list[0])
	}
	_ = w.WriteMsg(answer)
}

// serveTLS starts a TLS server at an address of the internet, which answers every request with text.
func (n *namedWorld) serveTLS(address, text string, names ...string) {
	n.t.Helper()
	cert := n.issue(names...)
	n.listenIn("t-inet", address, func(l net.Listener) {
		server := &http.Server{Handler: replying(text)}
		_ = server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
	})
}

func replying(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
}

// listenIn runs a server in a namespace until the test ends.
func (n *namedWorld) listenIn(ns, address string, serve func(net.Listener)) {
	n.t.Helper()
	var l net.Listener
	n.must(inNamespace(ns, func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(l)
	}()
	n.t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// dial opens a connection of the guest's.
func (n *namedWorld) dial(address string) (net.Conn, error) { return n.dialBy("tcp4", address) }

func (n *namedWorld) dialUDP(address string) (net.Conn, error) { return n.dialBy("udp4", address) }

func (n *namedWorld) dialBy(network, address string) (net.Conn, error) {
	var c net.Conn
	err := inNamespace("t-guest", func() (err error) {
		c, err = (&net.Dialer{Timeout: 5 * time.Second}).Dial(network, address)
		return err
	})
	if err == nil {
		n.t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	return c, err
}

// https asks by TLS at an address, with a server name and a host.
func (n *namedWorld) https(address, serverName, host string) (string, error) {
	c, err := n.dial(address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	secured := tls.Client(c, &tls.Config{ServerName: serverName, RootCAs: n.authority.Roots()})
	return ask(secured, host)
}

// http asks in the clear.
func (n *namedWorld) http(address, host string) (string, error) {
	c, err := n.dial(address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return ask(c, host)
}

func ask(c net.Conn, host string) (string, error) {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return "", err
	}
	data, err := io.ReadAll(c)
	if err == nil && len(data) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(data), err
}
