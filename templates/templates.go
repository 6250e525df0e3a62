// Package templates holds the definitions of the templates that Shoal ships.
package templates

import "embed"

// Base is the base template: "packages", one Debian package a line, and "files",
// the tree that is laid over them.
//
//go:embed all:base
var Base embed.FS
