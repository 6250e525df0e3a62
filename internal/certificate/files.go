package certificate

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// lookTime is how often files are looked at for a change.
const lookTime = 5 * time.Second

// files is a certificate from files, which others renew. While what is there cannot be used,
// such as between the writing of the two, the last good one is.
type files struct {
	certFile, keyFile string
	log               *slog.Logger

	mu   sync.Mutex
	cert *tls.Certificate
	// Only reload uses these.
	seen   [2]stamp // of the files as they were last read
	failed bool     // what was last read cannot be used
}

// stamp tells one content of a file from another.
type stamp struct {
	inode    uint64
	size     int64
	modified time.Time
}

var _ Source = (*files)(nil)

func openFiles(certFile, keyFile string, log *slog.Logger) (*files, error) {
	f := &files{certFile: certFile, keyFile: keyFile, log: log}
	f.seen = f.look()
	cert, err := ReadFiles(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	f.cert = cert
	return f, nil
}

// ReadFiles reads a certificate and its key.
func ReadFiles(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s with the key %s: %w", certFile, keyFile, err)
	}
	return &cert, nil
}

func (f *files) look() (now [2]stamp) {
	for i, path := range []string{f.certFile, f.keyFile} {
		if info, err := os.Stat(path); err == nil {
			now[i] = stamp{size: info.Size(), modified: info.ModTime()}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				now[i].inode = st.Ino
			}
		}
	}
	return now
}

// Certificate implements Source.
func (f *files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cert, nil
}

// Protocols implements Source.
func (f *files) Protocols() []string { return nil }

// Run implements Source: it reads the files again when they have changed.
func (f *files) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			f.reload()
		}
	}
}

// reload is called by one goroutine.
func (f *files) reload() {
	now := f.look()
	changed := now != f.seen
	if !changed && !f.failed {
		return
	}
	f.seen = now
	cert, err := ReadFiles(f.certFile, f.keyFile)
	if f.failed = err != nil; f.failed {
		if !changed {
			return // it was told before
		}
		f.log.Warn("the certificate of the domain has changed and cannot be used; the last one stays", "error", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cert = cert
	f.log.Info("the certificate of the domain was read again", "expires", cert.Leaf.NotAfter)
}
