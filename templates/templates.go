// Package templates holds the definitions of the templates that Shoal ships.
package templates

import "embed"

// Base is the base template: "packages", one Debian package a line; "dpkg.cfg",
// what is left out of them, and "slim-root", how; "node", what else is installed,
// and "install-node", how; "quick-shell", what makes commands start sooner; and
// "files", the tree that is laid over all that.
//
//go:embed all:base
var Base embed.FS
