package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// Paths of the system's trust store in the guest.
const (
	bundleFile  = "etc/ssl/certs/ca-certificates.crt"
	anchorsDir  = "usr/local/share/ca-certificates"
	bundleInUse = "/" + bundleFile
)

// authority is a certificate authority that guests trust in addition to the public ones.
type authority struct {
	name string // from the file's name and the first digits of a hash
	pem  []byte // one certificate
}

// readAuthorities reads PEM files; each may contain several certificates. The order of the
// files does not matter.
func readAuthorities(files []string) ([]authority, error) {
	var list []authority
	seen := map[[sha256.Size]byte]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		found := false
		for {
			var block *pem.Block
			if block, data = pem.Decode(data); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			found = true
			sum := sha256.Sum256(block.Bytes)
			if seen[sum] {
				continue
			}
			seen[sum] = true
			list = append(list, authority{
				name: fmt.Sprintf("%s-%x", name, sum[:4]),
				pem:  pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}),
			})
		}
		if !found {
			return nil, fmt.Errorf("%s contains no PEM certificate", file)
		}
	}
	sort.Slice(list, func(i, j int) bool { return bytes.Compare(list[i].pem, list[j].pem) < 0 })
	return list, nil
}

// trust adds authorities to the guest's store like update-ca-certificates: to the bundle,
// to the anchors that a later update reads, and to the hashed names. root is the root
// directory with the packages, whose openssl computes the hashes.
func trust(ctx context.Context, t *Tree, root string, authorities []authority) error {
	if len(authorities) == 0 {
		return nil
	}
	bundle, err := t.Read(bundleFile)
	if err != nil {
		return fmt.Errorf("the packages' trust store: %w", err)
	}
	bundle = bytes.Clone(bundle)
	var errs error
	for _, a := range authorities {
		bundle = append(bundle, a.pem...)
		anchor := anchorsDir + "/" + a.name + ".crt"
		hash, err := subjectHash(ctx, root, a)
		if err != nil {
			return err
		}
		errs = errors.Join(errs,
			t.Put(anchor, NewFile(0o644, a.pem)),
			t.Put("etc/ssl/certs/"+a.name+".pem", NewLink("/"+anchor)),
			t.Put("etc/ssl/certs/"+t.freeHash(hash), NewLink(a.name+".pem")))
	}
	config := func(name, text string) { errs = errors.Join(errs, t.Put(name, NewFile(0o644, []byte(text)))) }
	config(bundleFile, string(bundle))
	config("etc/pip.conf", "[global]\ncert = "+bundleInUse+"\n")
	config("usr/local/etc/npmrc", "cafile="+bundleInUse+"\n")
	config("etc/environment", trustEnvironment())
	return errs
}

// freeHash appends the number that distinguishes authorities with the same hash.
func (t *Tree) freeHash(hash string) string {
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s.%d", hash, n)
		if _, err := t.lookup("etc/ssl/certs/" + name); err != nil {
			return name
		}
	}
}

// subjectHash returns the hash by which OpenSSL looks an authority up.
func subjectHash(ctx context.Context, root string, a authority) (string, error) {
	cmd := exec.CommandContext(ctx, "chroot", root, "openssl", "x509", "-noout", "-subject_hash")
	cmd.Stdin = bytes.NewReader(a.pem)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("read the certificate authority %s: %w: %s", a.name, err,
			bytes.TrimSpace(complaint.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// TrustEnv makes language runtimes with a trust store of their own use the system's. It is
// for guests whose image trusts more than the public authorities.
func TrustEnv() map[string]string {
	return map[string]string{
		"SSL_CERT_FILE":       bundleInUse,
		"SSL_CERT_DIR":        "/etc/ssl/certs",
		"REQUESTS_CA_BUNDLE":  bundleInUse,
		"CURL_CA_BUNDLE":      bundleInUse,
		"PIP_CERT":            bundleInUse,
		"GIT_SSL_CAINFO":      bundleInUse,
		"NODE_EXTRA_CA_CERTS": bundleInUse,
		"DENO_TLS_CA_STORE":   "system",
	}
}

// trustEnvironment returns TrustEnv in the form of /etc/environment.
func trustEnvironment() string {
	var env strings.Builder
	for _, name := range trustNames() {
		fmt.Fprintf(&env, "%s=%s\n", name, TrustEnv()[name])
	}
	return env.String()
}

func trustNames() []string {
	var names []string
	for name := range TrustEnv() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
