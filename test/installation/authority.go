package installation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// AuthorityOf is a sandbox's certificate authority with its key (PEM), as its record on this machine
// has it; empty if it has none.
func (i *Installation) AuthorityOf(sandboxID string) (string, error) {
	data, err := os.ReadFile(filepath.Join(i.RunDir, "sandboxes", sandboxID+".json"))
	if err != nil {
		return "", err
	}
	var record struct{ Authority string }
	err = json.Unmarshal(data, &record)
	return record.Authority, err
}

// Vouched is the key and the certificate of a server's name (PEM), by an authority with its key.
func Vouched(authority, name string) (string, error) {
	pair, err := tls.X509KeyPair([]byte(authority), []byte(authority))
	if err != nil {
		return "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, pair.Leaf, key.Public(), pair.PrivateKey)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}
