package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"shoal/internal/certificate/certificatetest"
	"shoal/test/installation"
)

// internet is one with a server at a public address, which sandboxes reach as they reach any, and an
// authority for its certificate.
type internet struct {
	*installation.Internet
	dir  string // of the authority and the certificate (PEM)
	ends []func()
}

// The server's address is nobody's that anything here could reach.
const (
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
	n.Internet, err = installation.NewInternet("bench", netip.MustParsePrefix(serverAddress+"/24"),
		[]string{serverAddress}, map[string]string{serverName + ".": serverAddress})
	if err != nil {
		return nil, err
	}
	n.ends = append(n.ends, func() { _ = n.Close() })
	if n.dir, err = os.MkdirTemp("", "shoal-bench-internet-"); err != nil {
		return nil, err
	}
	n.ends = append(n.ends, func() { os.RemoveAll(n.dir) })
	certificate, err := n.certify()
	if err != nil {
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
	authority, err := certificatetest.New()
	if err != nil {
		return tls.Certificate{}, err
	}
	certificate, err := authority.Issue(serverName)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := certificatetest.PairPEM(certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	return certificate, errors.Join(os.WriteFile(n.trust(), authority.PEM(), 0o644), os.WriteFile(n.pair(), pair, 0o600))
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
	plain, err := n.Listen(serverAddress + ":80")
	if err != nil {
		return err
	}
	secured, err := n.Listen(serverAddress + ":443")
	if err != nil {
		return err
	}
	// Two servers: one that has begun to serve without TLS does not learn HTTP/2 any more, and would
	// still offer it.
	forPlain := &http.Server{Handler: mux}
	forTLS := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	n.ends = append(n.ends, func() { forPlain.Close() }, func() { forTLS.Close() })
	go func() { _ = forPlain.Serve(plain) }() // each ends with its server
	go func() { _ = forTLS.ServeTLS(secured, "", "") }()
	return nil
}
