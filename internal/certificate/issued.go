package certificate

import (
	"context"
	"crypto/tls"
	"sync"
	"time"
)

// issued is certificates of the local authority. The key of the present one is only in
// memory: each start makes a new one.
type issued struct {
	authority *Authority
	domain    string
	now       func() time.Time

	mu   sync.Mutex
	cert *tls.Certificate // nil until it is asked for
}

var _ Source = (*issued)(nil)

func newIssued(a *Authority, domain string) *issued {
	return &issued{authority: a, domain: domain, now: time.Now}
}

// Certificate implements Source: one certificate is for the domain and all names below it.
func (i *issued) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if i.cert != nil && now.Before(i.cert.Leaf.NotAfter.Add(-renewTime)) {
		return i.cert, nil
	}
	cert, err := i.authority.issue(now, i.domain, "*."+i.domain)
	if err != nil {
		return nil, err
	}
	i.cert = cert
	return cert, nil
}

// Protocols implements Source.
func (i *issued) Protocols() []string { return nil }

// Run implements Source; handshakes do all there is to do.
func (i *issued) Run(context.Context) error { return nil }
