// Package templates holds the definitions of the templates that Shoal ships.
package templates

import "embed"

// Base is the base template: "packages" lists Debian packages, one per line; "dpkg.cfg"
// says what is left out of them, and "slim-root" how; "node" says what else is installed,
// and "install-node" how; "quick-shell" makes commands start faster; and "files" is the
// tree that is laid over all of that.
// "files", the tree that is laid over all that.
//
//go:embed all:base
var Base embed.FS
