package certificate

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
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/atomicfile"
)

const (
	// authorityTime is how long a local authority vouches: it is installed by hand.
	authorityTime = 10 * 365 * 24 * time.Hour
	// issuedTime is how long a certificate of it is good for, and renewTime how long before
	// its end the next one is made.
	issuedTime = 90 * 24 * time.Hour
	renewTime  = 30 * 24 * time.Hour
	// skew is how far the clocks of clients may be behind.
	skew = time.Hour
)

// Authority is a certificate authority of this installation. It vouches for one domain only,
// which its certificate says (name constraints), so whoever steals its key cannot pretend to
// be anybody else to those who trust it.
type Authority struct {
	// File has its certificate (PEM), for those who are to trust it.
	File string
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

const certName, keyName = "ca.crt", "ca.key"

// OpenAuthority returns the authority in a directory, and makes one where there is none. Its
// key is readable by its owner alone; its certificate by everybody.
func OpenAuthority(dir, domain string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the local authority: %w", err)
	}
	a, err := ReadAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeAuthority(dir, domain); err != nil {
			return nil, fmt.Errorf("make a local authority: %w", err)
		}
		a, err = ReadAuthority(dir)
	}
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(a.File, a.PEM(), 0o644, atomicfile.Durable); err != nil {
		return nil, fmt.Errorf("write the certificate of the local authority: %w", err)
	}
	return a, nil
}

// AuthorityFile is where the certificate of the authority in a directory is.
func AuthorityFile(dir string) string { return filepath.Join(dir, certName) }

// ReadAuthority returns the authority in a directory, or fs.ErrNotExist. It changes nothing, so
// that checks may call it.
func ReadAuthority(dir string) (*Authority, error) {
	// Both are in the file of the key, so that they always belong together.
	data, err := os.ReadFile(filepath.Join(dir, keyName))
	if err != nil {
		return nil, fmt.Errorf("read the key of the local authority: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it, and a new authority is made at the next start", filepath.Join(dir, keyName), err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not a key that Shoal made", filepath.Join(dir, keyName))
	}
	return &Authority{File: AuthorityFile(dir), Cert: pair.Leaf, key: key}, nil
}

// makeAuthority writes a new one. Of several that start at once, the first to write wins.
func makeAuthority(dir, domain string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Shoal"}, CommonName: "Shoal for " + domain + " " + now.Format(time.DateOnly)},
		NotBefore: now.Add(-skew), NotAfter: now.Add(authorityTime),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{domain},
		// Names of other kinds are excluded as a whole.
		ExcludedIPRanges: []*net.IPNet{{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	err = atomicfile.WriteNew(filepath.Join(dir, keyName), both, atomicfile.Durable)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// PEM is its certificate as others read it.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})
}

// issue makes a certificate for names, good from now on.
func (a *Authority) issue(now time.Time, names ...string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		DNSNames: names, Subject: pkix.Name{Organization: []string{"Shoal"}},
		NotBefore: now.Add(-skew), NotAfter: now.Add(issuedTime),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.Cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
