package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"shoal/internal/envdapi"
	"shoal/templates"
)

// Provision is laid over any image to make it a guest's root: the daemon, the files that
// describe a guest's network, and the authorities that it trusts. Changes that need the
// image's own programs are made in the guest.
type Provision struct {
	Envd    func() []byte // the program of the daemon, which takes megabytes that nobody shall keep
	CAFiles []string
}

// envdPath is the path of the daemon in an image.
var envdPath = strings.TrimPrefix(envdapi.Executable, "/")

// provisioned are files of the base template that every guest gets.
var provisioned = []string{"etc/hosts", "etc/hostname", "etc/resolv.conf"}

// Key changes whenever Tree does.
func (p Provision) Key() (string, error) {
	authorities, err := readAuthorities(p.CAFiles)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%x\n", sha256.Sum256(p.Envd()))
	for _, a := range authorities {
		fmt.Fprintf(h, "%s %x\n", a.name, sha256.Sum256(a.pem))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Tree returns the image to lay over another.
func (p Provision) Tree() (*Tree, error) {
	authorities, err := readAuthorities(p.CAFiles)
	if err != nil {
		return nil, err
	}
	t := NewTree()
	for _, name := range []string{"dev", "proc", "sys", "run", "run/e2b", "run/lock", "tmp", "tmp/.X11-unix",
		"var/tmp"} {
		err = errors.Join(err, t.Put(name, NewDir(emptyDirs[name])))
	}
	for _, name := range provisioned {
		data, readErr := templates.Base.ReadFile("base/files/" + name)
		err = errors.Join(err, readErr, t.Put(name, NewFile(0o644, data)))
	}
	for _, a := range authorities {
		err = errors.Join(err, t.Put(anchorsDir+"/"+a.name+".crt", NewFile(0o644, a.pem)))
	}
	if len(authorities) > 0 {
		err = errors.Join(err, t.Put("etc/environment", NewFile(0o644, []byte(trustEnvironment()))))
	}
	return t, errors.Join(err,
		t.Put("etc/mtab", NewLink("../proc/self/mounts")),
		t.Put(envdPath, NewFile(0o755, p.Envd())))
}
