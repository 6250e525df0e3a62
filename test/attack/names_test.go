package attack

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// zone ends the names that our resolver knows. The first label is the address, with dashes
// between its parts; "swing-" before it makes the first answer a public address, and
// further ones the given address.
const zone = ".attack.example."

// nameOf is the name that resolves to an address.
func nameOf(address string) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(address) + zone
}

// serveNames answers the host's resolver queries, on the public side.
func serveNames() error {
	var swings atomic.Int64
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		label, known := strings.CutSuffix(strings.ToLower(r.Question[0].Name), zone)
		label, swing := strings.CutPrefix(label, "swing-")
		if swing && r.Question[0].Qtype == dns.TypeA && swings.Add(1)%2 == 1 {
			label = strings.ReplaceAll(website, ".", "-")
		}
		four, err4 := netip.ParseAddr(strings.ReplaceAll(label, "-", "."))
		six, err6 := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
		header := dns.RR_Header{Name: r.Question[0].Name, Class: dns.ClassINET, Ttl: 0}
		switch {
		case !known || err4 != nil && err6 != nil:
			m.Rcode = dns.RcodeNameError
		case err4 == nil && r.Question[0].Qtype == dns.TypeA:
			header.Rrtype = dns.TypeA
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IP(four.AsSlice())})
		case err6 == nil && r.Question[0].Qtype == dns.TypeAAAA:
			header.Rrtype = dns.TypeAAAA
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: net.IP(six.AsSlice())})
		}
		_ = w.WriteMsg(m)
	})
	return at(outside, func() error {
		packets, err := net.ListenPacket("udp4", resolver+":53")
		if err != nil {
			return err
		}
		streams, err := net.Listen("tcp4", resolver+":53")
		if err != nil {
			return err
		}
		go func() { _ = (&dns.Server{PacketConn: packets, Handler: handler}).ActivateAndServe() }()
		go func() { _ = (&dns.Server{Listener: streams, Handler: handler}).ActivateAndServe() }()
		return nil
	})
}

// secret is what every internal service tells whoever reaches it. No tenant may read it.
const secret = "only-for-this-network"

// serveWeb answers at port 80 of all addresses: inside with the secret, outside with a
// redirect to the address in the request's path.
func serveWeb() error {
	tell := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, secret) })
	send := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := strings.TrimPrefix(r.URL.Path, "/to/"); to != r.URL.Path {
			http.Redirect(w, r, "http://"+to, http.StatusFound)
			return
		}
		fmt.Fprint(w, "public\n")
	})
	for place, handler := range map[string]http.Handler{inside: tell, outside: send} {
		if err := serveAt(place, ":80", handler); err != nil {
			return err
		}
	}
	return nil
}

// serveAt serves HTTP in a namespace until the process ends.
func serveAt(place, address string, handler http.Handler) error {
	return at(place, func() error {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		go func() { _ = s.Serve(listener) }()
		return nil
	})
}

// TestNames shows that the names resolve as the attacks expect.
func TestNames(t *testing.T) {
	for _, want := range []string{"10.1.2.3", "169.254.169.254", "fd00:ec2::254"} {
		got, err := net.DefaultResolver.LookupHost(t.Context(), nameOf(want))
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s resolves to %v, error %v", nameOf(want), got, err)
		}
	}
	resp, err := http.Get("http://" + website + "/to/" + opened + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != secret {
		t.Errorf("the redirect leads to %q, error %v", body, err)
	}
}
