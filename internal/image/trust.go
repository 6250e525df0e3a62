package image

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// The system's trust store in the guest.
const (
	bundleFile  = "etc/ssl/certs/ca-certificates.crt"
	anchorsDir  = "usr/local/share/ca-certificates"
	bundleInUse = "/" + bundleFile
)

// authority is a certificate authority that guests trust besides the public ones.
type authority struct {
	name string // file name without its ending
	pem  []byte // one certificate
}

// readAuthorities reads PEM files; each may hold several certificates. The order
// does not depend on that of the files.
func readAuthorities(files []string) ([]authority, error) {
	var list []authority
	seen := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		for n := 0; ; n++ {
			var block *pem.Block
			if block, data = pem.Decode(data); block == nil {
				if n == 0 {
					return nil, fmt.Errorf("%s contains no PEM certificate", file)
				}
				break
			}
			if block.Type != "CERTIFICATE" || seen[string(block.Bytes)] {
				continue
			}
			seen[string(block.Bytes)] = true
			list = append(list, authority{name: fmt.Sprintf("%s-%d", name, n), pem: pem.EncodeToMemory(block)})
		}
	}
	sort.Slice(list, func(i, j int) bool { return bytes.Compare(list[i].pem, list[j].pem) < 0 })
	return list, nil
}

// trust adds authorities to the guest's store as update-ca-certificates does:
// the bundle, the anchors that a later update reads, and the hashed names. root is
// the packages' directory, whose openssl computes them.
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
		hash, err := subjectHash(ctx, root, a.pem)
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
	var env strings.Builder
	for _, name := range trustNames() {
		fmt.Fprintf(&env, "%s=%s\n", name, TrustEnv()[name])
	}
	config("etc/environment", env.String())
	return errs
}

// freeHash appends the number that tells subjects of the same hash apart.
func (t *Tree) freeHash(hash string) string {
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s.%d", hash, n)
		if _, err := t.lookup("etc/ssl/certs/" + name); err != nil {
			return name
		}
	}
}

func subjectHash(ctx context.Context, root string, certificate []byte) (string, error) {
	cmd := exec.CommandContext(ctx, "chroot", root, "openssl", "x509", "-noout", "-subject_hash")
	cmd.Stdin = bytes.NewReader(certificate)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("hash a certificate authority: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// TrustEnv makes runtimes that bring a store of their own use the system's.
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

func trustNames() []string {
	var names []string
	for name := range TrustEnv() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
