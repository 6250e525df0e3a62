package network

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"shoal/internal/shoal"
)

// socksServer is a SOCKS5 proxy on the internet that asks for a password and looks names up for
// itself: every one leads to a server of its own that says what was asked for.
type socksServer struct {
	user, password string

	mu      sync.Mutex
	targets []string
}

func (s *socksServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.targets...)
}

func (s *socksServer) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer c.Close()
			_ = s.talk(c)
		}()
	}
}

func (s *socksServer) talk(c net.Conn) error {
	r := bufio.NewReader(c)
	take := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return make([]byte, n)
		}
		return b
	}
	greeting := take(2)
	if greeting[0] != 5 {
		return errors.New("this is not SOCKS5")
	}
	take(int(greeting[1]))
	if _, err := c.Write([]byte{5, 2}); err != nil {
		return err
	}
	user := string(take(int(take(2)[1])))
	password := string(take(int(take(1)[0])))
	if user != s.user || password != s.password {
		_, err := c.Write([]byte{1, 1})
		return err
	}
	if _, err := c.Write([]byte{1, 0}); err != nil {
		return err
	}
	var target string
	switch head := take(4); head[3] {
	case 1:
		target = net.IP(take(4)).String()
	case 3:
		target = string(take(int(take(1)[0])))
	}
	target = fmt.Sprintf("%s:%d", target, binary.BigEndian.Uint16(take(2)))
	s.mu.Lock()
	s.targets = append(s.targets, target)
	s.mu.Unlock()
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	// What the guest sends ends before the answer does.
	all, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c, "%s got %d", target, len(all))
	return err
}

// through sends what and returns the answer.
func (n *namedWorld) through(address, what string) (string, error) {
	c, err := n.dial(address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, what); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	data, err := io.ReadAll(c)
	if err == nil && len(data) == 0 {
		err = io.EOF
	}
	return string(data), err
}

// TestEgressProxy: everything goes through the tenant's proxy, which looks names up, and never
// past it.
func TestEgressProxy(t *testing.T) {
	n := newNamedWorld(t)
	server := &socksServer{user: "me", password: "secret"}
	n.listenIn("t-inet", internetIP+":1080", server.serve)
	cert, ca := n.issue("proxy.test"), string(n.authority.PEM())
	n.listenIn("t-inet", internetIP+":1081", func(l net.Listener) {
		server.serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
	})
	n.zone.set("proxy.test", internetIP)
	n.zone.set("inner.test", privateIP)
	proxy := func(address string, change func(*shoal.EgressProxy)) *shoal.EgressProxy {
		p := &shoal.EgressProxy{Address: address, Username: "me", Password: "secret"}
		if change != nil {
			change(p)
		}
		return p
	}
	secured := func(name, ca string) func(*shoal.EgressProxy) {
		return func(p *shoal.EgressProxy) { p.TLS = &shoal.ProxyTLS{ServerName: name, CACert: ca} }
	}
	request := "GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n"
	for what, c := range map[string]struct {
		proxy   *shoal.EgressProxy
		deny    []string
		address string
		want    string // "" is nothing
	}{
		"by name":                  {proxy("proxy.test:1080", nil), nil, otherIP + ":80", "unknown.test:80 got 38"},
		"by address":               {proxy(internetIP+":1080", nil), nil, otherIP + ":2222", otherIP + ":2222 got 38"},
		"some are denied":          {proxy(internetIP+":1080", nil), []string{"9.9.9.9"}, otherIP + ":80", otherIP + ":80 got 38"},
		"this is denied":           {proxy(internetIP+":1080", nil), []string{otherIP}, otherIP + ":80", ""},
		"by TLS":                   {proxy("proxy.test:1081", secured("", ca)), nil, otherIP + ":80", "unknown.test:80 got 38"},
		"by TLS with a name":       {proxy(internetIP+":1081", secured("proxy.test", ca)), nil, otherIP + ":80", "unknown.test:80 got 38"},
		"by TLS of a stranger":     {proxy("proxy.test:1081", secured("", "")), nil, otherIP + ":80", ""},
		"by TLS of another name":   {proxy("proxy.test:1081", secured("other.test", ca)), nil, otherIP + ":80", ""},
		"TLS that is none":         {proxy("proxy.test:1080", secured("", ca)), nil, otherIP + ":80", ""},
		"in the clear to TLS":      {proxy("proxy.test:1081", nil), nil, otherIP + ":80", ""},
		"a wrong password":         {proxy("proxy.test:1080", func(p *shoal.EgressProxy) { p.Password = "wrong" }), nil, otherIP + ":80", ""},
		"nobody":                   {proxy(internetIP+":1", nil), nil, otherIP + ":80", ""},
		"an internal proxy":        {proxy(privateIP+":80", nil), nil, otherIP + ":80", ""},
		"an internal proxy's name": {proxy("inner.test:80", nil), nil, otherIP + ":80", ""},
		"the host as a proxy":      {proxy("198.51.100.254:1080", nil), nil, otherIP + ":80", ""},
		"an internal target":       {proxy(internetIP+":1080", nil), nil, privateIP + ":2222", ""},
	} {
		n.policy(shoal.Network{EgressProxy: c.proxy, DenyOut: c.deny})
		got, err := n.through(c.address, request)
		if got != c.want {
			t.Errorf("%s: %q (%v), want %q", what, got, err, c.want)
		}
	}
	for _, target := range server.asked() {
		if strings.HasPrefix(target, privateIP) {
			t.Errorf("the proxy was asked for %s", target)
		}
	}
	domains := only("unknown.test")
	domains.EgressProxy = proxy(internetIP+":1080", nil)
	n.policy(domains)
	if got, err := n.through(otherIP+":80", request); got != "unknown.test:80 got 38" {
		t.Errorf("an allowed name: %q, %v", got, err)
	}
	if got, err := n.through(otherIP+":80", strings.Replace(request, "unknown", "evil", 1)); got != "" {
		t.Errorf("a name that is not allowed: %q, %v", got, err)
	}
}
