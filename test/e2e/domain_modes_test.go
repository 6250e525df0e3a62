package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"shoal/internal/freeport"
)

// someTests are enough to see that the SDK works by a domain; TestDomain runs all.
var someTests = []string{"domain.Domain.test_commands_and_files", "domain.Domain.test_stream_of_input"}

// issuer is a certificate authority of somebody else.
type issuer struct{ dir, certificate string }

func newIssuer(t *testing.T) issuer {
	t.Helper()
	a := issuer{dir: t.TempDir()}
	a.certificate = filepath.Join(a.dir, "ca.crt")
	a.openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=Somebody else", "-keyout", filepath.Join(a.dir, "ca.key"), "-out", a.certificate)
	return a
}

func (a issuer) openssl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

// issue makes a certificate of a domain and the names below it, with a serial number to tell it by.
func (a issuer) issue(t *testing.T, domain string, serial int) (cert, key string) {
	t.Helper()
	name := filepath.Join(a.dir, fmt.Sprint(serial))
	cert, key = name+".crt", name+".key"
	a.openssl(t, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN="+domain,
		"-addext", fmt.Sprintf("subjectAltName=DNS:%s,DNS:*.%s", domain, domain), "-keyout", key, "-out", name+".csr")
	a.openssl(t, "x509", "-req", "-in", name+".csr", "-CA", a.certificate, "-CAkey", filepath.Join(a.dir, "ca.key"),
		"-days", "1", "-set_serial", fmt.Sprint(serial), "-copy_extensions", "copy", "-out", cert)
	return cert, key
}

// TestDomainByFiles: the certificate is from files, and a renewed one is served without a restart.
func TestDomainByFiles(t *testing.T) {
	const name = "files.localhost"
	authority, port := newIssuer(t), strconv.Itoa(freeport.Of(t))
	cert, key := authority.issue(t, name, 100)
	r := another(t, "domf", nil, "SHOAL_TLS=files", "SHOAL_DOMAIN="+name+":"+port,
		"SHOAL_TLS_LISTEN=localhost:"+port, "SHOAL_TLS_CERT="+cert, "SHOAL_TLS_KEY="+key)
	d := domainOf(t, r, authority.certificate)
	d.python(t, "2", someTests...)

	newCert, newKey := authority.issue(t, name, 200)
	for from, to := range map[string]string{newKey: key, newCert: cert} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, time.Minute, "the renewed certificate", func() bool {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{ServerName: "api." + name, RootCAs: authority.pool(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64() == 200
	})
}

func (a issuer) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(a.certificate)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal("the authority's certificate: ", err)
	}
	return pool
}

// TestDomainBehindBalancer: something else ends TLS, and the SDK notices nothing.
func TestDomainBehindBalancer(t *testing.T) {
	const name = "balancer.localhost"
	authority, port := newIssuer(t), strconv.Itoa(freeport.Of(t))
	cert, err := tls.LoadX509KeyPair(authority.issue(t, name, 100))
	if err != nil {
		t.Fatal(err)
	}
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:" + port}
	balancer := httptest.NewUnstartedServer(&httputil.ReverseProxy{FlushInterval: -1,
		ErrorLog: log.New(io.Discard, "", 0), // clients that go while they are answered
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host
			p.SetXForwarded()
		}})
	balancer.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	balancer.EnableHTTP2 = true
	balancer.StartTLS()
	defer balancer.Close()
	_, publicPort, _ := net.SplitHostPort(balancer.Listener.Addr().String())
	r := another(t, "domb", nil, "SHOAL_TLS=balancer", "SHOAL_DOMAIN="+name+":"+publicPort,
		"SHOAL_TLS_LISTEN=127.0.0.1:"+port, "SHOAL_TRUSTED_PROXIES=127.0.0.1/32")
	domainOf(t, r, authority.certificate).python(t, "2", someTests...)

	req, err := http.NewRequestWithContext(t.Context(), "GET", target.String()+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.elsewhere.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name: %s", resp.Status)
	}
}
