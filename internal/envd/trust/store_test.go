package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newStore(t *testing.T, dir string) *Store {
	t.Helper()
	s := New(Paths{Bundle: filepath.Join(dir, "certs", "bundle.crt"), Extra: filepath.Join(dir, "extra", "ca.crt"),
		Policies: []string{filepath.Join(dir, "policies")},
		Sudoers:  filepath.Join(dir, "sudoers.d")}, slog.New(slog.DiscardHandler))
	must(t, os.MkdirAll(s.paths.Sudoers, 0o755))
	t.Cleanup(s.Wait)
	return s
}

func authority(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{Subject: pkix.Name{Organization: []string{"Shoal"}, CommonName: name},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// files is what there is below a directory, without the bundle.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "bundle.crt" {
			list = append(list, e.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestRemoveLeavesNothing: by the daemon that installed an authority, or a later one.
func TestRemoveLeavesNothing(t *testing.T) {
	for _, later := range []bool{false, true} {
		dir := t.TempDir()
		system := authority(t, "system")
		must(t, os.MkdirAll(filepath.Join(dir, "certs"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "certs", "bundle.crt"), []byte(system), 0o644))
		s, own := newStore(t, dir), authority(t, "Transforms of sandbox i1")
		must(t, s.Install(context.Background(), own))
		s.Wait()
		if got := files(t, dir); len(got) != 6 {
			t.Errorf("installed: %v", got)
		}
		if later {
			s = newStore(t, dir)
		}
		must(t, s.Remove(context.Background()))
		must(t, s.Remove(context.Background()))
		bundle, err := os.ReadFile(s.paths.Bundle)
		if err != nil || string(bundle) != system {
			t.Errorf("the bundle has %d bytes (%v)", len(bundle), err)
		}
		if got := files(t, dir); len(got) != 0 {
			t.Errorf("removed: %v", got)
		}
	}
}

// TestLaterDaemonReplaces: one that boots from the disk of another sandbox takes that one's out.
func TestLaterDaemonReplaces(t *testing.T) {
	dir := t.TempDir()
	first, second := authority(t, "Transforms of sandbox i1"), authority(t, "Transforms of sandbox i2")
	s := newStore(t, dir)
	must(t, s.Install(context.Background(), first))
	s.Wait()
	s = newStore(t, dir)
	must(t, s.Install(context.Background(), second))
	s.Wait()
	for name, want := range map[string]string{s.paths.Bundle: second, s.paths.Extra: second} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s has %d bytes (%v)", name, len(got), err)
		}
	}
	if got := files(t, dir); len(got) != 6 {
		t.Errorf("there are %v", got)
	}
}

// TestSudoHasTheEnvironment: the file that sudo is told of has what processes get, and sudo takes
// what names it.
func TestSudoHasTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	must(t, s.Install(context.Background(), authority(t, "Transforms of sandbox i1")))
	text, err := os.ReadFile(s.environmentFile())
	must(t, err)
	for name, value := range s.Environment() {
		if !strings.Contains(string(text), name+"="+value+"\n") {
			t.Errorf("%s is not in %s", name, text)
		}
	}
	rule := filepath.Join(s.paths.Sudoers, sudoersFile)
	if info, err := os.Stat(rule); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("%v, %v", info, err)
	}
	if visudo, err := exec.LookPath("visudo"); err == nil {
		if out, err := exec.Command(visudo, "-c", "-f", rule).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	must(t, os.RemoveAll(s.paths.Sudoers))
	must(t, s.Install(context.Background(), authority(t, "Transforms of sandbox i2")))
	s.Wait()
	if _, err := os.Stat(s.paths.Sudoers); err == nil {
		t.Error("a directory of sudo's was made where there is no sudo")
	}
}

// TestOpenSSLFindsIt by the directory alone, whose files are named by the hashes of subjects.
func TestOpenSSLFindsIt(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	dir := t.TempDir()
	s, own := newStore(t, dir), authority(t, "Transforms  of sandbox Iäx ")
	must(t, s.Install(context.Background(), own))
	block, _ := pem.Decode([]byte(own))
	hash, err := subjectHash(block.Bytes)
	must(t, err)
	cmd := exec.Command(openssl, "x509", "-noout", "-subject_hash")
	cmd.Stdin = strings.NewReader(own)
	if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != fmt.Sprintf("%08x", hash) {
		t.Errorf("OpenSSL says %s (%v), we %08x", out, err, hash)
	}
	s.Wait() // it is in Extra then
	out, err := exec.Command(openssl, "verify", "-no-CAfile", "-CApath", filepath.Join(dir, "certs"),
		s.paths.Extra).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestJavaReadsTheKeyStore, where there is Java; else the form is looked at.
func TestJavaReadsTheKeyStore(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	must(t, s.Install(context.Background(), authority(t, "Transforms of sandbox i1")))
	data, err := os.ReadFile(s.javaStore())
	must(t, err)
	if !bytes.HasPrefix(data, []byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1}) {
		t.Errorf("it begins with % x", data[:min(12, len(data))])
	}
	keytool, err := exec.LookPath("keytool")
	if err != nil {
		t.Skip("there is no keytool")
	}
	out, err := exec.Command(keytool, "-list", "-keystore", s.javaStore(), "-storepass", "changeit").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "authority-0") {
		t.Errorf("%v: %s", err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
