package certificate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/config"
)

const (
	// maxNames is for how many names of sandboxes a certificate may be asked for in
	// namesTime. Public authorities issue some 50 for a domain in a week, and refuse the
	// renewal of others' once they are used up.
	maxNames  = 40
	namesTime = 7 * 24 * time.Hour
)

// sandboxName is the first label of a sandbox's name.
var sandboxName = regexp.MustCompile(`^[0-9]{1,5}-([a-z0-9]+)$`)

// names decides for which names certificates are asked for: the API's, and within a bound
// those of ports of sandboxes that exist.
type names struct {
	domain string
	known  func(ctx context.Context, sandboxID string) bool
	now    func() time.Time
	file   string

	mu    sync.Mutex           // held while the file is written
	given map[string]time.Time // when each name was first asked for
}

func openNames(cfg *config.Config, known func(context.Context, string) bool) (*names, error) {
	if err := os.MkdirAll(cfg.ACMEDir(), 0o700); err != nil {
		return nil, err
	}
	n := &names{domain: cfg.DomainName(), known: known, now: time.Now,
		file: filepath.Join(cfg.ACMEDir(), "names.json"), given: map[string]time.Time{}}
	data, err := os.ReadFile(n.file)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &n.given)
	}
	if err != nil {
		return nil, fmt.Errorf("read for which names certificates were asked for: %w", err)
	}
	return n, nil
}

// admit returns nil if a certificate may be asked for.
func (n *names) admit(ctx context.Context, name string) error {
	label, found := strings.CutSuffix(strings.ToLower(name), "."+n.domain)
	if !found {
		return errForeign
	}
	if label == "api" {
		return nil
	}
	m := sandboxName.FindStringSubmatch(label)
	if m == nil {
		return errForeign
	}
	if n.known == nil || !n.known(ctx, m[1]) {
		return errors.New("there is no such sandbox")
	}
	return n.count(label)
}

func (n *names) count(label string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	for l, at := range n.given {
		if now.Sub(at) > namesTime {
			delete(n.given, l)
		}
	}
	if _, before := n.given[label]; before {
		return nil
	}
	if len(n.given) >= maxNames {
		return fmt.Errorf("certificates for %d names were asked for within a week; set acme-hook, and one is for all", maxNames)
	}
	n.given[label] = now
	data, err := json.Marshal(n.given)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(n.file, data, 0o600, atomicfile.Durable)
}
