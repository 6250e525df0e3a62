//go:build cgo

package kernel

func init() { linkedDynamically = true }
