package intercept

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
	"sync"
	"time"
)

const (
	// authorityTime is how long an authority vouches. A sandbox may stay paused for long.
	authorityTime = 10 * 365 * 24 * time.Hour
	// leafTime is how long a certificate is good for; the next one is made when half of it is over.
	leafTime = 7 * 24 * time.Hour
	// skew is how far a guest's clock may be behind.
	skew = 48 * time.Hour
	// maxLeaves bounds the certificates that an authority keeps: a wildcard rule is for any number
	// of names.
	maxLeaves = 256
	// maxCommonName is the longest common name that X.509 allows.
	maxCommonName = 64
)

// Authority is the certificate authority of one sandbox: it vouches towards that sandbox's
// guests, and towards nobody else, for the servers whose requests are transformed. It is safe
// for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *ecdsa.PrivateKey // of all certificates; it is in memory alone

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// NewAuthority makes the authority of a sandbox.
func NewAuthority(sandboxID string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a sandbox's authority: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Shoal"}, CommonName: "Transforms of sandbox " + sandboxID},
		NotBefore: now.Add(-skew), NotAfter: now.Add(authorityTime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
		MaxPathLenZero: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a sandbox's authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a sandbox's authority: %w", err)
	}
	return newAuthority(cert, key)
}

func newAuthority(cert *x509.Certificate, key *ecdsa.PrivateKey) (*Authority, error) {
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return &Authority{cert: cert, key: key, leaf: leaf, leaves: map[string]*tls.Certificate{}}, nil
}

// ParseAuthority reads what Marshal wrote.
func ParseAuthority(data []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("read a sandbox's authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("read a sandbox's authority: it is none that Shoal made")
	}
	return newAuthority(pair.Leaf, key)
}

// Marshal returns the key and the certificate (PEM). It is as secret as the key.
func (a *Authority) Marshal() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("write a sandbox's authority: %w", err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), a.Certificate()...), nil
}

// Certificate returns the certificate that guests are to trust (PEM).
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// vouch returns a certificate for a name.
func (a *Authority) vouch(name string, now time.Time) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if have := a.leaves[name]; have != nil && now.Before(have.Leaf.NotAfter.Add(-leafTime/2)) &&
		now.After(have.Leaf.NotBefore) {
		return have, nil
	}
	made, err := a.issue(name, now)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves) // one takes less than a millisecond to make
	}
	a.leaves[name] = made
	return made, nil
}

func (a *Authority) issue(name string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{Organization: []string{"Shoal"}}, DNSNames: []string{name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(leafTime),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(name) <= maxCommonName {
		template.Subject.CommonName = name // some old clients look only there
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.leaf.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leaf, Leaf: leaf}, nil
}
