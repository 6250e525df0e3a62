package network

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// world is a pool, a slot whose guest is played by a namespace, and namespaces that play
// the internet and a host in a private network.
type world struct {
	t    *testing.T
	pool *Pool
	slot *Slot
}

const (
	internetIP = "198.51.100.1"
	otherIP    = "198.51.100.2"
	privateIP  = "172.30.99.1"
)

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cfg := Config{Name: "t", HostCIDR: netip.MustParsePrefix("10.71.0.0/16"),
		VethCIDR:  netip.MustParsePrefix("10.72.0.0/16"),
		StateFile: filepath.Join(t.TempDir(), "host.json"), PoolSize: 1,
		Identify: func(a netip.Addr) (string, bool) { return "sandbox-at-" + a.String(), true }}
	if change != nil {
		change(&cfg)
	}
	w := &world{t: t}
	w.remote("t-inet", "t-i0", internetIP, "198.51.100.254", otherIP)
	w.remote("t-priv", "t-p0", privateIP, "172.30.99.254")
	pool, err := NewPool(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.pool = pool
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- pool.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := pool.Teardown(); err != nil {
			t.Errorf("Teardown: %v", err)
		}
	})
	w.slot = w.acquire()
	w.attach(w.slot, "t-guest")
	return w
}

func (w *world) acquire() *Slot {
	w.t.Helper()
	s, err := w.pool.Acquire(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// remote creates a namespace with a web server, linked to the host.
func (w *world) remote(ns, link, ip, hostIP string, more ...string) {
	w.t.Helper()
	made, err := prepareNamespaceDir(namespaceDir)
	w.must(err)
	if made { // nobody else has used namespaces on this host
		w.t.Cleanup(func() { _ = releaseNamespaceDir(namespaceDir) })
	}
	w.must(createNamespace(ns, func(host int) error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: link,
			PeerNamespace: netlink.NsFd(host)}); err != nil {
			return err
		}
		for _, a := range append([]string{ip}, more...) {
			if err := address(h, "eth0", netip.MustParseAddr(a), 24); err != nil {
				return err
			}
		}
		return up(h, "eth0")
	}))
	w.t.Cleanup(func() {
		if l, err := netlink.LinkByName(link); err == nil {
			_ = netlink.LinkDel(l)
		}
		if err := removeNamespace(ns); err != nil {
			w.t.Error(err)
		}
	})
	l, err := netlink.LinkByName(link)
	w.must(err)
	w.must(netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParseAddr(hostIP), 24)}))
	w.must(netlink.LinkSetUp(l))
	w.serveIn(ns, ":80", "from "+ns)
}

// serveIn starts a server in a namespace that answers every request with text.
func (w *world) serveIn(ns, addr, text string) {
	w.t.Helper()
	var listener net.Listener
	w.must(inNamespace(ns, func() (err error) {
		listener, err = net.Listen("tcp4", addr)
		return err
	}))
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s to %s", text, r.RemoteAddr)
	})}
	go func() { _ = server.Serve(listener) }()
	w.t.Cleanup(func() { server.Close() })
}

// attach moves the guest's end of a slot's link into a namespace that plays the guest.
func (w *world) attach(s *Slot, ns string) {
	w.t.Helper()
	w.must(createNamespace(ns, func(int) error { return nil }))
	w.t.Cleanup(func() {
		if err := removeNamespace(ns); err != nil {
			w.t.Error(err)
		}
	})
	target, err := os.Open(filepath.Join(namespaceDir, ns))
	w.must(err)
	defer target.Close()
	w.must(inNamespace(s.plan.namespaceName(s.index), func() error {
		l, err := netlink.LinkByName(guestName)
		if err != nil {
			return err
		}
		return netlink.LinkSetNsFd(l, int(target.Fd()))
	}))
	w.must(inNamespace(ns, func() error {
		l, err := netlink.LinkByName(guestName)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetHardwareAddr(l, guestMAC); err != nil {
			return err
		}
		if err := netlink.LinkSetARPOn(l); err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(guestIP, linkBits)}); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: gatewayIP.AsSlice()})
	}))
}

// get fetches a URL from inside a namespace; "" is the host's.
func (w *world) get(ns, url string) (string, error) { return w.getWithin(10*time.Second, ns, url) }

// getWithin is get with a time limit, which is short where no answer is expected.
func (w *world) getWithin(limit time.Duration, ns, url string) (string, error) {
	dialer := &net.Dialer{Timeout: limit}
	client := &http.Client{Timeout: limit + 2*time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			dial := func() error {
				c, err = dialer.DialContext(ctx, "tcp4", addr)
				return err
			}
			if ns == "" {
				return c, dial()
			}
			err = inNamespace(ns, dial)
			return c, err
		}}}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (w *world) reaches(url string) {
	w.t.Helper()
	if _, err := w.get("t-guest", url); err != nil {
		w.t.Errorf("the guest does not reach %s: %v", url, err)
	}
}

func (w *world) blocked(url string) {
	w.t.Helper()
	if body, err := w.getWithin(700*time.Millisecond, "t-guest", url); err == nil {
		w.t.Errorf("the guest reaches %s: %s", url, body)
	}
}

func (w *world) egress(n shoal.Network) {
	w.t.Helper()
	e, err := ParsePolicy(n)
	w.must(err)
	w.must(w.slot.SetEgress(w.t.Context(), e))
}
