package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// internet is a namespace behind the host with a server at a public address, which sandboxes
// reach as they reach any, an authority for its certificate, and a DNS server that knows its name.
type internet struct {
	resolver string // HOST:PORT on this host
	dir      string // of the authority and the certificate (PEM)
	ends     []func()
}

// The server's address is nobody's that anything here could reach.
const (
	internetSpace  = "shoal-bench"
	internetLink   = "shoal-bench0"
	serverName     = "server.bench"
	serverAddress  = "5.45.1.1"
	gatewayAddress = "5.45.1.254" // the host's
)

// egressSize is how many bytes the rows of the way out move at once.
const egressSize = 100 << 20

func newInternet() (_ *internet, err error) {
	n := &internet{}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	for _, step := range []struct{ do, undo string }{
		{"netns add " + internetSpace, "netns del " + internetSpace},
		{"link add " + internetLink + " type veth peer name eth0 netns " + internetSpace, "link del " + internetLink},
		{"addr add " + gatewayAddress + "/24 dev " + internetLink, ""},
		{"link set " + internetLink + " up", ""},
		{"-n " + internetSpace + " addr add " + serverAddress + "/24 dev eth0", ""},
		{"-n " + internetSpace + " link set eth0 up", ""},
	} {
		if out, err := exec.Command("ip", strings.Fields(step.do)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w\n%s", step.do, err, out)
		}
		if step.undo != "" {
			n.ends = append(n.ends, func() { _ = exec.Command("ip", strings.Fields(step.undo)...).Run() })
		}
	}
	if n.dir, err = os.MkdirTemp("", "shoal-bench-internet-"); err != nil {
		return nil, err
	}
	n.ends = append(n.ends, func() { os.RemoveAll(n.dir) })
	certificate, err := n.certify()
	if err != nil {
		return nil, err
	}
	if err := n.serveNames(); err != nil {
		return nil, err
	}
	return n, n.serve(certificate)
}

// close takes everything away that newInternet made.
func (n *internet) close() {
	for len(n.ends) > 0 {
		last := len(n.ends) - 1
		n.ends[last]()
		n.ends = n.ends[:last]
	}
}

// trust is the file of the authority, and pair that of the server's certificate with its key.
func (n *internet) trust() string { return filepath.Join(n.dir, "authority.pem") }
func (n *internet) pair() string  { return filepath.Join(n.dir, "server.pem") }

// certify makes an authority and a certificate for the server.
func (n *internet) certify() (tls.Certificate, error) {
	none := tls.Certificate{}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, err
	}
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Shoal's benchmark"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		return none, err
	}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: serverName},
		DNSNames: []string{serverName}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leaf, err := x509.CreateCertificate(rand.Reader, server, authority, key.Public(), key)
	if err != nil {
		return none, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return none, err
	}
	leafPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	rootPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	err = errors.Join(os.WriteFile(n.trust(), rootPEM, 0o644), os.WriteFile(n.pair(), append(leafPEM, keyPEM...), 0o600))
	if err != nil {
		return none, err
	}
	return tls.X509KeyPair(leafPEM, keyPEM)
}

// serveNames answers about the server's name.
func (n *internet) serveNames() error {
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n.resolver = packets.LocalAddr().String()
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		switch {
		case !strings.EqualFold(q.Question[0].Name, serverName+"."):
			answer.SetRcode(q, dns.RcodeNameError)
		case q.Question[0].Qtype == dns.TypeA:
			answer.Answer = append(answer.Answer, &dns.A{A: net.ParseIP(serverAddress), Hdr: dns.RR_Header{
				Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}})
		}
		_ = w.WriteMsg(answer)
	})}
	go func() { _ = server.ActivateAndServe() }() // ends with the listener
	n.ends = append(n.ends, func() { packets.Close() })
	return nil
}

// serve answers by HTTP on port 80, and by TLS with both versions of HTTP on port 443.
func (n *internet) serve(certificate tls.Certificate) error {
	block := make([]byte, 1<<20)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	mux.HandleFunc("GET /big", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(egressSize))
		for range egressSize / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("PUT /big", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: &protocols,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	n.ends = append(n.ends, func() { server.Close() })
	plain, err := listenIn(internetSpace, serverAddress+":80")
	if err != nil {
		return err
	}
	go func() { _ = server.Serve(plain) }() // both end with the server
	secured, err := listenIn(internetSpace, serverAddress+":443")
	if err != nil {
		return err
	}
	go func() { _ = server.ServeTLS(secured, "", "") }()
	return nil
}

// listenIn opens an address in a namespace.
func listenIn(space, address string) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() { // its thread goes with it
		defer close(done)
		runtime.LockOSThread()
		var fd int
		if fd, err = unix.Open("/run/netns/"+space, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			l, err = net.Listen("tcp4", address)
		}
	}()
	<-done
	return l, err
}
