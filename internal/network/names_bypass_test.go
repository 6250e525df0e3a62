package network

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// serveRaw answers the first bytes of each connection with a word, and then what else comes with
// the same bytes.
func (n *namedWorld) serveRaw(address, word string) {
	n.t.Helper()
	n.listenIn("t-inet", address, func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				if _, err := c.Read(make([]byte, 1)); err == nil {
					_, _ = io.WriteString(c, word)
					_, _ = io.Copy(c, c)
				}
			}()
		}
	})
}

// says sends bytes in the given pieces and returns the first bytes of the answer.
func (n *namedWorld) says(address string, pieces ...[]byte) (string, error) {
	c, err := n.dial(address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	for _, p := range pieces {
		if _, err := c.Write(p); err != nil {
			return "", err
		}
		if len(pieces) > 1 {
			time.Sleep(2 * time.Millisecond) // so that they are packets of their own
		}
	}
	got := make([]byte, 64)
	k, err := c.Read(got)
	return string(got[:k]), err
}

// hello is a ClientHello with these extensions, in records of at most so many bytes.
func hello(record int, extensions ...[]byte) []byte {
	all := bytes.Join(extensions, nil)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)
	body = binary.BigEndian.AppendUint16(body, uint16(len(all)))
	body = append(body, all...)
	message := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	var out []byte
	for len(message) > 0 {
		k := min(record, len(message))
		out = append(out, 22, 3, 1, byte(k>>8), byte(k))
		out = append(out, message[:k]...)
		message = message[k:]
	}
	return out
}

func sni(name string) []byte {
	k := len(name)
	return append([]byte{0, 0, byte((k + 5) >> 8), byte(k + 5), byte((k + 3) >> 8), byte(k + 3), 0, byte(k >> 8), byte(k)}, name...)
}

func bytewise(data []byte) (pieces [][]byte) {
	for i := range data {
		pieces = append(pieces, data[i:i+1])
	}
	return pieces
}

// TestBypassByTLS tries what would have a connection go to another server than the one that is
// allowed by its name.
func TestBypassByTLS(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.zone.set("evil.test", otherIP)
	n.serveRaw(internetIP+":443", "right")
	n.serveRaw(otherIP+":443", "wrong")
	n.policy(only("allowed.test"))
	evil := otherIP + ":443"
	encrypted := []byte{0xfe, 0x0d, 0, 1, 0}
	long := hello(16384, sni("allowed.test"), append([]byte{0, 21, 0x30, 0}, make([]byte, 0x3000)...))
	for what, c := range map[string]struct {
		pieces [][]byte
		want   string
	}{
		"as it should be":              {[][]byte{hello(16384, sni("allowed.test"))}, "right"},
		"bytewise":                     {bytewise(hello(16384, sni("allowed.test"))), "right"},
		"in records of a few bytes":    {[][]byte{hello(3, sni("allowed.test"))}, "right"},
		"of several packets":           {[][]byte{long[:1400], long[1400:9000], long[9000:]}, "right"},
		"with a dot at the end":        {[][]byte{hello(16384, sni("allowed.test."))}, "right"},
		"without a name":               {[][]byte{hello(16384)}, ""},
		"another name":                 {[][]byte{hello(16384, sni("evil.test"))}, ""},
		"an address":                   {[][]byte{hello(16384, sni(otherIP))}, ""},
		"two names":                    {[][]byte{hello(16384, sni("allowed.test"), sni("evil.test"))}, ""},
		"a name with a zero":           {[][]byte{hello(16384, sni("allowed.test\x00.evil.test"))}, ""},
		"a hidden name":                {[][]byte{hello(16384, sni("allowed.test"), encrypted)}, ""},
		"another message after it":     {[][]byte{append(hello(16384, sni("allowed.test")), 22, 3, 3, 0, 1, 1)}, "right"},
		"HTTP":                         {[][]byte{[]byte("GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n")}, ""},
		"nothing of TLS":               {[][]byte{[]byte("SSH-2.0-client\r\n")}, ""},
		"a ClientHello of SSL 2":       {[][]byte{{0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10}}, ""},
		"a record without a byte":      {[][]byte{{22, 3, 1, 0, 0}, hello(16384, sni("allowed.test"))}, ""},
		"a message that is too long":   {[][]byte{{22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff}}, ""},
		"an alert":                     {[][]byte{{21, 3, 3, 0, 2, 1, 0}}, ""},
		"a handshake of another kind":  {[][]byte{{22, 3, 3, 0, 5, 2, 0, 0, 1, 0}}, ""},
		"a name below the allowed one": {[][]byte{hello(16384, sni("x.allowed.test"))}, ""},
	} {
		if got, err := n.says(evil, c.pieces...); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: answered %q (%v), want %q", what, got, err, c.want)
		}
	}
}

// TestBypassByHTTP does the same by HTTP.
func TestBypassByHTTP(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.policy(only("allowed.test"))
	// Whoever is not led by the name reaches a server that answers to every host, or nobody.
	const evil, nobody, right = otherIP + ":80", "198.51.100.77:80", "HTTP/1.1 "
	fields := func(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n") }
	for what, c := range map[string]struct {
		request []byte
		want    string
	}{
		"as it should be":        {fields("GET / HTTP/1.1", "Host: allowed.test"), right},
		"with a port":            {fields("GET / HTTP/1.1", "Host: Allowed.Test:80"), right},
		"by an absolute target":  {fields("GET http://allowed.test/ HTTP/1.1", "Host: allowed.test"), right},
		"another absolute host":  {fields("GET http://evil.test/ HTTP/1.1", "Host: allowed.test"), ""},
		"another host":           {fields("GET / HTTP/1.1", "Host: evil.test"), ""},
		"two hosts":              {fields("GET / HTTP/1.1", "Host: allowed.test", "Host: evil.test"), ""},
		"a folded host":          {fields("GET / HTTP/1.1", "Host: allowed.test", " evil.test"), ""},
		"a blank before a colon": {fields("GET / HTTP/1.1", "Host : evil.test", "Host: allowed.test"), ""},
		"a bare line feed":       {[]byte("GET / HTTP/1.1\nHost: allowed.test\r\n\r\n"), ""},
		"a tunnel":               {fields("CONNECT evil.test:443 HTTP/1.1", "Host: allowed.test"), ""},
		"a user before the host": {fields("GET http://allowed.test@evil.test/ HTTP/1.1", "Host: allowed.test"), ""},
		"two lengths":            {fields("POST / HTTP/1.1", "Host: allowed.test", "Content-Length: 1", "Content-Length: 2"), ""},
		"length and chunks":      {fields("POST / HTTP/1.1", "Host: allowed.test", "Content-Length: 4", "Transfer-Encoding: chunked"), ""},
		"another coding":         {fields("POST / HTTP/1.1", "Host: allowed.test", "Transfer-Encoding: xchunked"), ""},
		"HTTP/2":                 {[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ""},
		"without a host":         {fields("GET / HTTP/1.0"), ""},
		"IPv6-mapped":            {fields("GET / HTTP/1.1", "Host: [::ffff:198.51.100.2]"), ""},
	} {
		address := evil
		if c.want != "" {
			address = nobody
		}
		if got, err := n.says(address, c.request); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: answered %q (%v), want %q", what, got, err, c.want)
		}
	}
}

// TestLaterRequests: a connection stays with the host that it was opened for.
func TestLaterRequests(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.policy(only("allowed.test"))
	for what, c := range map[string]struct {
		second string
		want   bool
	}{
		"the same host":     {"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", true},
		"another host":      {"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", false},
		"a later upgrade":   {"GET / HTTP/1.1\r\nHost: allowed.test\r\nUpgrade: x\r\n\r\n", false},
		"something strange": {"GET / HTTP/1.1\r\nHost: evil.test\n\n\r\n\r\n", false},
	} {
		c1, err := n.dial(otherIP + ":80")
		n.must(err)
		r := bufio.NewReader(c1)
		first := "POST / HTTP/1.1\r\nHost: allowed.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n"
		if _, err := io.WriteString(c1, first); err != nil {
			t.Fatal(err)
		}
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
			t.Fatalf("%s: the first request is answered %q, %v", what, line, err)
		}
		if _, err := io.WriteString(c1, c.second); err != nil {
			t.Fatal(err)
		}
		all, _ := io.ReadAll(io.LimitReader(deadline(c1, r, 500*time.Millisecond), 4096))
		if got := strings.Contains(string(all), "HTTP/1.1 "); got != c.want {
			t.Errorf("%s: a second request was answered = %v: %q", what, got, all)
		}
		c1.Close()
	}
}

func deadline(c net.Conn, r io.Reader, d time.Duration) io.Reader {
	_ = c.SetReadDeadline(time.Now().Add(d))
	return r
}

// TestInternalAnswers: a name leads to no address that sandboxes may not reach, whatever its
// answers are, and however they change.
func TestInternalAnswers(t *testing.T) {
	n := newNamedWorld(t)
	host, err := net.Listen("tcp4", "198.51.100.254:0") // the host itself
	n.must(err)
	defer host.Close()
	go func() {
		for {
			c, err := host.Accept()
			if err != nil {
				return
			}
			c.Close()
			t.Error("a guest reached the host")
		}
	}()
	n.policy(only("*"))
	answers := map[string][]string{
		"private.test": {privateIP}, "loop.test": {"127.0.0.1"}, "zero.test": {"0.0.0.0"},
		"metadata.test": {"169.254.169.254"}, "host.test": {"198.51.100.254"}, "slot.test": {n.slot.HostIP().String()},
		"link.test": {n.slot.plan.vethHost(n.slot.index).String()}, "service.test": {hyperloopIP.String()},
	}
	for name, list := range answers {
		n.zone.set(name, list...)
		if got, err := n.http(otherIP+":80", name); err == nil {
			t.Errorf("%s at %v is reached: %q", name, list, got)
		}
	}
	n.zone.set("rebind.test", internetIP, privateIP, internetIP, privateIP, privateIP)
	for i := range 10 {
		if got, err := n.http(otherIP+":80", "rebind.test"); err == nil && !strings.Contains(got, "from t-inet") {
			t.Errorf("try %d: %q", i, got)
		}
	}
	for _, address := range []string{privateIP + ":80", "169.254.169.254:80"} {
		if got, err := n.http(address, "allowed.test"); err == nil {
			t.Errorf("%s is reached by itself: %q", address, got)
		}
	}
}

// TestDatagrams: UDP does not go round rules about names, and is refused at once.
func TestDatagrams(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	var echo net.PacketConn
	n.must(inNamespace("t-inet", func() (err error) {
		echo, err = net.ListenPacket("udp4", internetIP+":443")
		return err
	}))
	defer echo.Close()
	go func() {
		b := make([]byte, 100)
		for {
			k, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(b[:k], from)
		}
	}()
	quic := func() error {
		var c net.Conn
		n.must(inNamespace("t-guest", func() (err error) {
			c, err = net.Dial("udp4", internetIP+":443")
			return err
		}))
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("quic")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 100))
		return err
	}
	for _, c := range []struct {
		what   string
		policy shoal.Network
		want   bool
	}{
		{"open", shoal.Network{}, true},
		{"by name only", only("allowed.test"), false},
		{"an allowed address", only("allowed.test", internetIP), true},
		{"a transform", shoal.Network{Transforms: map[string]shoal.Transform{"allowed.test": {}}}, false},
		{"a proxy", shoal.Network{EgressProxy: &shoal.EgressProxy{Address: internetIP + ":1080"}}, false},
	} {
		n.policy(c.policy)
		begin := time.Now()
		err := quic()
		if got := err == nil; got != c.want || time.Since(begin) > 3*time.Second {
			t.Errorf("%s: passes = %v (%v after %v)", c.what, got, err, time.Since(begin))
		}
	}
}

// TestOtherPorts: on ports that are not for HTTP servers may speak first, and each side may end
// what it sends before the other; addresses decide.
func TestOtherPorts(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.listenIn("t-inet", ":2222", func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				_, _ = io.WriteString(c, "SSH-2.0-server\r\n")
				all, _ := io.ReadAll(c)
				fmt.Fprintf(c, "%d bytes", len(all))
			}()
		}
	})
	n.policy(only("allowed.test", internetIP))
	c, err := n.dial(internetIP + ":2222")
	n.must(err)
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || line != "SSH-2.0-server\r\n" {
		t.Fatalf("the server's first line is %q, %v", line, err)
	}
	if _, err := c.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	n.must(c.(*net.TCPConn).CloseWrite())
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "1048576 bytes" {
		t.Errorf("after the end of what the guest sends: %q, %v", rest, err)
	}
	if got, err := n.says(otherIP+":2222", []byte("x")); got != "" {
		t.Errorf("an address that is not allowed answers %q, %v", got, err)
	}
}
