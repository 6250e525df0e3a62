//go:build cgo

package share

// withCgo tells that a program cannot give up what it may do on all of its threads.
const withCgo = true
