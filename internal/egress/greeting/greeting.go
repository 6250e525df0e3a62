// Package greeting reads the name of the server that a client asks for out of the first bytes
// that it sends: a TLS ClientHello or the head of an HTTP/1 request. What it cannot read without
// a doubt has no name, because another reader, the server, might see another one.
package greeting

import (
	"errors"
	"net/netip"
	"strings"
)

// Errors of both readers.
var (
	// ErrMore asks for more bytes: what is there may be the beginning of a greeting.
	ErrMore = errors.New("the greeting is not complete")
	// ErrNone says that the bytes are no greeting, or that it has no name that can be relied on.
	ErrNone = errors.New("there is no name in the greeting")
)

// canonical writes a host name in one way, and refuses what is none: addresses too, also those
// that only some programs take for one, such as 127.1 and 0x7f000001.
func canonical(host string) (string, bool) {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "" || len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return "", false
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return "", false
	}
	return name, true
}

func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
