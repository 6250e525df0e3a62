package certificate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"shoal/internal/atomicfile"
)

// TrustedPrefix begins the names of the files by which this machine's store trusts local
// authorities. They say nothing to guests, which trust what else is in that store.
const TrustedPrefix = "shoal-authority-"

// systemStore is a directory of authorities that a system trusts, and the command that takes
// a change of it over.
type systemStore struct {
	dir    string
	update []string
}

// systemStores are those of Debian and Alpine, of Fedora's family and of Arch.
var systemStores = []systemStore{
	{"/usr/local/share/ca-certificates", []string{"update-ca-certificates"}},
	{"/etc/pki/ca-trust/source/anchors", []string{"update-ca-trust", "extract"}},
	{"/etc/ca-certificates/trust-source/anchors", []string{"trust", "extract-compat"}},
}

// bundles are the files in which systems keep all that they trust.
var bundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

// Bundle returns the file with all authorities that this machine trusts, if ours is among
// them.
func (a *Authority) Bundle() (file string, trusted bool) {
	for _, file := range bundles {
		if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, bytes.TrimSpace(a.PEM())) {
			return file, true
		}
	}
	return "", false
}

// Change is what was done to one store, or why not.
type Change struct {
	Store   string
	Skipped string // "" if it was done
}

// Trust makes this machine's programs trust the authority of a domain: by the system's store,
// and by those of browsers in the homes. Nothing happens twice if it is called again.
func (a *Authority) Trust(ctx context.Context, domain string, homes []Home) ([]Change, error) {
	store, err := findSystemStore()
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(store.file(domain), a.PEM(), 0o644, atomicfile.Durable); err != nil {
		return nil, fmt.Errorf("add the authority to the system's store: %w", err)
	}
	if err := store.takeOver(ctx); err != nil {
		return nil, err
	}
	changes := []Change{{Store: store.dir}}
	for _, h := range homes {
		for _, db := range h.databases() {
			changes = append(changes, h.add(ctx, db, nickname(domain), store.file(domain)))
		}
	}
	return changes, nil
}

// Distrust undoes Trust.
func Distrust(ctx context.Context, domain string, homes []Home) ([]Change, error) {
	store, err := findSystemStore()
	if err != nil {
		return nil, err
	}
	if err := os.Remove(store.file(domain)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("take the authority out of the system's store: %w", err)
	}
	if err := store.takeOver(ctx); err != nil {
		return nil, err
	}
	changes := []Change{{Store: store.dir}}
	for _, h := range homes {
		for _, db := range h.databases() {
			changes = append(changes, h.remove(ctx, db, nickname(domain)))
		}
	}
	return changes, nil
}

// nickname is what browsers list the authority as.
func nickname(domain string) string { return "Shoal for " + domain }

func findSystemStore() (systemStore, error) {
	for _, s := range systemStores {
		if _, err := exec.LookPath(s.update[0]); err != nil {
			continue
		}
		if info, err := os.Stat(s.dir); err == nil && info.IsDir() {
			return s, nil
		}
	}
	return systemStore{}, errors.New("this system has no store of authorities that Shoal knows; install ca-certificates, " +
		"or give programs the file that `shoal trust --print` prints")
}

func (s systemStore) file(domain string) string {
	return filepath.Join(s.dir, TrustedPrefix+domain+".crt")
}

func (s systemStore) takeOver(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, s.update[0], s.update[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(s.update, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
