package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Trusting returns a TLS configuration that trusts the authorities in the files too. It is
// nil without files.
func Trusting(caFiles []string) (*tls.Config, error) {
	if len(caFiles) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
	}
	for _, file := range caFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s contains no PEM certificate", file)
		}
	}
	return &tls.Config{RootCAs: pool}, nil
}
