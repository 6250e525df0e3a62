//go:build !cgo

package share

const withCgo = false
