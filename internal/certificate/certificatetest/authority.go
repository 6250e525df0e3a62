// Package certificatetest vouches for the servers of tests.
package certificatetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// lifetime is that of an authority, and how long before it was made it and its certificates hold.
const lifetime = 24 * time.Hour

// Authority is a certificate authority.
type Authority struct{ pair tls.Certificate }

// New makes an authority.
func New() (*Authority, error) {
	about := &x509.Certificate{Subject: pkix.Name{CommonName: "Authority of tests"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	pair, err := sign(about, nil)
	return &Authority{pair}, err
}

// Load is the authority of a key and a certificate (PEM).
func Load(text []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(text, text)
	return &Authority{pair}, err
}

// Issue makes a certificate of names and addresses, which ends when the authority does.
func (a *Authority) Issue(names ...string) (tls.Certificate, error) {
	return a.IssueUntil(time.Now().Add(lifetime), names...)
}

// IssueUntil makes a certificate of names and addresses that ends at a time, which may be past.
func (a *Authority) IssueUntil(end time.Time, names ...string) (tls.Certificate, error) {
	about := &x509.Certificate{NotAfter: end, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			about.IPAddresses = append(about.IPAddresses, ip)
		} else {
			about.DNSNames = append(about.DNSNames, name)
		}
	}
	return sign(about, &a.pair)
}

// sign makes a key and its certificate; by itself if there is no authority.
func sign(about *x509.Certificate, by *tls.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if about.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 62)); err != nil {
		return tls.Certificate{}, err
	}
	about.NotBefore = time.Now().Add(-lifetime)
	if about.NotAfter.IsZero() {
		about.NotAfter = time.Now().Add(lifetime)
	}
	parent, signer := about, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, about, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// Roots trust the authority alone.
func (a *Authority) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.pair.Leaf)
	return roots
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return CertificatePEM(a.pair) }

// CertificatePEM is a certificate without its key.
func CertificatePEM(c tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
}

// KeyPEM is a certificate's key.
func KeyPEM(c tls.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// PairPEM is a key and its certificate.
func PairPEM(c tls.Certificate) ([]byte, error) {
	key, err := KeyPEM(c)
	return append(key, CertificatePEM(c)...), err
}
