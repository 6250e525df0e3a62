// Package templates holds the definitions of the templates that Shoal ships.
package templates

import (
	"embed"
	"io/fs"
	"strings"
)

// Base is the base template: "packages" lists Debian packages, one per line; "dpkg.cfg"
// says what is left out of them, and "slim-root" how; "node" says what else is installed,
// and "install-node" how; "quick-shell" makes commands start faster; and "files" is the
// tree that is laid over all of that.
//
//go:embed all:base
var Base embed.FS

// BaseFiles calls do with each file of "files", by its path below the root directory, in the
// order of the paths.
func BaseFiles(do func(name string, data []byte) error) error {
	const top = "base/files"
	return fs.WalkDir(Base, top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := Base.ReadFile(path)
		if err != nil {
			return err
		}
		return do(strings.TrimPrefix(path, top+"/"), data)
	})
}
