package envd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/internal/envd/access"
	"shoal/internal/envdapi"
)

// disk is what a guest's file system has, for daemons that boot from it.
type bootDisk struct {
	t    *testing.T
	root string
}

func newBootDisk(t *testing.T) *bootDisk {
	t.Helper()
	d := &bootDisk{t, t.TempDir()}
	d.put("/etc/passwd", fmt.Sprintf("user:x:%d:%d::/home/user:/bin/bash\n", os.Getuid(), os.Getgid()))
	d.put("/etc/group", "")
	d.put("/usr/lib/tmpfiles.d/db.conf", "d /run/db 2775 user - -\nr! /tmp/.lock")
	for _, dir := range []string{"/run/e2b", "/etc"} {
		if err := os.MkdirAll(d.root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *bootDisk) put(name, text string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.root+name), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(d.root+name, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *bootDisk) read(name string) string {
	data, _ := os.ReadFile(d.root + name)
	return string(data)
}

func (d *bootDisk) has(name string) bool {
	_, err := os.Lstat(d.root + name)
	return err == nil
}

// boot starts a daemon on the disk for a sandbox, and waits until it has said who it is.
func (d *bootDisk) boot(sandbox string) *guest {
	d.t.Helper()
	config := DefaultConfig(slog.New(slog.DiscardHandler))
	config.ForwardPorts, config.ReapOrphans, config.Boots = false, false, true
	config.Root, config.RunDir = d.root, d.root+"/run/e2b"
	config.PasswdFile, config.GroupFile, config.HostsFile = d.root+"/etc/passwd", d.root+"/etc/group", d.root+"/etc/hosts"
	config.Policies, config.Sudoers = nil, ""
	config.CABundle, config.CAExtra = d.root+config.CABundle, d.root+config.CAExtra
	config.Authority = access.Authority{Path: d.root + "/none", Lookup: func(key string) string {
		return map[string]string{envdapi.SandboxIDVariable: sandbox, envdapi.TemplateIDVariable: "tmpl"}[key]
	}}
	g := &guest{t: d.t, server: New(config)}
	g.run()
	g.do("GET", envdapi.HealthPath, nil) // it has booted
	eventually(d.t, "who it is", func() bool { return d.has("/run/e2b/.E2B_TEMPLATE_ID") })
	g.server.identityMu.Lock() // until all of it is written
	defer g.server.identityMu.Unlock()
	return g
}

// TestBootFromAnImage leaves all as it is: a build has prepared it.
func TestBootFromAnImage(t *testing.T) {
	d := newBootDisk(t)
	d.put("/run/db/of-the-image", "")
	d.put("/tmp/.lock", "")
	d.boot("one")
	if !d.has("/run/db/of-the-image") || !d.has("/tmp/.lock") {
		t.Error("a fresh image was changed")
	}
}

// TestBootFromAUsedDisk: nothing of the former run is below /run, and what packages ask for is.
func TestBootFromAUsedDisk(t *testing.T) {
	d := newBootDisk(t)
	d.boot("one")
	d.put("/run/db/server.pid", "14")
	d.put("/run/dbus/pid", "15")
	d.put("/tmp/.lock", "")
	d.put("/tmp/mine", "")
	d.boot("one")
	for _, name := range []string{"/run/db/server.pid", "/run/dbus", "/tmp/.lock"} {
		if d.has(name) {
			t.Errorf("%s is still there", name)
		}
	}
	for name, mode := range map[string]string{"/run/db": "dgrwxrwxr-x", "/run/lock": "dtrwxrwxrwx", "/run/e2b": "drwxr-xr-x",
		fmt.Sprintf("/run/user/%d", os.Getuid()): "drwx------", "/tmp/mine": "-rw-r--r--"} {
		if info, err := os.Lstat(d.root + name); err != nil || info.Mode().String() != mode {
			t.Errorf("%s: %v %v, want %s", name, info, err, mode)
		}
	}
	if d.read("/run/e2b/.E2B_SANDBOX_ID") != "one" {
		t.Error("the daemon has not said who it is")
	}
}

// TestMachineID: each sandbox has its own, which stays; one that is the template's stays too.
func TestMachineID(t *testing.T) {
	const file = "/etc/machine-id"
	d := newBootDisk(t)
	d.boot("")
	while := d.read(file)
	if while != envdapi.MachineID("tmpl")+"\n" || len(while) != 33 {
		t.Errorf("a template under construction: %q", while)
	}
	d.boot("one")
	one := d.read(file)
	d.boot("one")
	if one == while || d.read(file) != one {
		t.Errorf("%q became %q", one, d.read(file))
	}
	d.boot("two") // from a snapshot of one's disk
	if two := d.read(file); two == one || two != envdapi.MachineID("two")+"\n" {
		t.Errorf("another sandbox on the same disk: %q", two)
	}
	for text, want := range map[string]string{"": envdapi.MachineID("two") + "\n", "uninitialized\n": envdapi.MachineID("two") + "\n",
		"0123456789abcdef0123456789abcdef\n": "0123456789abcdef0123456789abcdef\n"} {
		d := newBootDisk(t)
		d.put(file, text)
		d.boot("two")
		if got := d.read(file); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// TestPrepare is what a build asks for after each step.
func TestPrepare(t *testing.T) {
	d := newBootDisk(t)
	g := d.boot("")
	d.put("/tmp/.lock", "")
	a := g.do("POST", envdapi.PreparePath, nil)
	var prepared envdapi.Prepared
	if err := json.Unmarshal([]byte(a.body), &prepared); err != nil || a.status != 200 {
		t.Fatalf("%+v: %v", a, err)
	}
	if want := []string{"db", "user", fmt.Sprintf("user/%d", os.Getuid())}; !slices.Equal(prepared.Run, want) {
		t.Errorf("%q, want %q", prepared.Run, want)
	}
	if !d.has("/run/db") || !d.has("/tmp/.lock") {
		t.Error("it made too little or removed something")
	}
	many := ""
	for i := range 500 {
		many += fmt.Sprintf("d /run/%0*d\n", 200, i)
	}
	d.put("/usr/lib/tmpfiles.d/many.conf", many)
	if a := g.do("POST", envdapi.PreparePath, nil); a.status != 200 || len(a.body) > 2*envdapi.MaxPrepared {
		t.Errorf("%d, %d bytes", a.status, len(a.body))
	}
}

// TestAnchors: an authority that was only put where update-ca-certificates looks is trusted
// after a build's step and after a boot from a used disk, once.
func TestAnchors(t *testing.T) {
	d := newBootDisk(t)
	const bundle, dir = "/etc/ssl/certs/ca-certificates.crt", "/usr/local/share/ca-certificates/"
	public, own, later := authority(t), authority(t), authority(t)
	d.put(bundle, strings.TrimSpace(public)) // without a line end
	d.put(dir+"sub/own.crt", "comment\r\n"+strings.ReplaceAll(own, "\n", "\r\n"))
	d.put(dir+"public.crt", public)
	d.put(dir+"ignored.pem", authority(t))
	d.put(dir+"broken.crt", "-----BEGIN CERTIFICATE-----\nx")
	g := d.boot("one")
	for range 2 {
		g.do("POST", envdapi.PreparePath, nil)
	}
	if got := d.read(bundle); got != public+own {
		t.Errorf("the bundle is\n%s\nwant\n%s", got, public+own)
	}
	d.put(dir+"later.crt", later)
	d.boot("one")
	if got := d.read(bundle); got != public+own+later {
		t.Errorf("after a boot the bundle is\n%s", got)
	}
}

// authority returns a certificate in PEM.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
