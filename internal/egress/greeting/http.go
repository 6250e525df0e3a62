package greeting

import (
	"bytes"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MaxHead bounds the head of an HTTP request, in bytes.
const MaxHead = 64 << 10

// Head is that of an HTTP/1 request. Its lengths are those that every careful reader sees.
type Head struct {
	Host   string // in lower case, without a port; empty if the request names none
	Method string
	Size   int // bytes of the head with the empty line at its end
	// Body is the length of the body in bytes; -1 if it comes in chunks.
	Body int64
	// Upgrade means that another protocol may follow.
	Upgrade bool
}

// ParseHead reads the head of a request. Whatever could be read in two ways is ErrNone: several
// lengths or hosts, folded lines, bare line feeds, codings other than chunked, blanks in names.
func ParseHead(data []byte) (Head, error) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		if len(data) >= MaxHead || !mayBeginRequest(data) {
			return Head{}, ErrNone
		}
		return Head{}, ErrMore
	}
	if end > MaxHead {
		return Head{}, ErrNone
	}
	lines := strings.Split(string(data[:end]), "\r\n")
	h := Head{Size: end + 4}
	target, version, ok := requestLine(&h, lines[0])
	if !ok {
		return Head{}, ErrNone
	}
	fields, ok := parseFields(lines[1:])
	if !ok || !h.length(fields, version) || !h.host(fields["host"], target) {
		return Head{}, ErrNone
	}
	h.Upgrade = len(fields["upgrade"]) > 0
	return h, nil
}

// mayBeginRequest tells early that something else is spoken.
func mayBeginRequest(data []byte) bool {
	for i, b := range data {
		switch {
		case b == ' ':
			return i > 0
		case !isTokenByte(b):
			return false
		case i > 32:
			return false
		}
	}
	return true
}

func requestLine(h *Head, line string) (target, version string, ok bool) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[1] == "" || hasControl(line) {
		return "", "", false
	}
	h.Method = parts[0]
	return parts[1], parts[2], parts[2] == "HTTP/1.1" || parts[2] == "HTTP/1.0"
}

// parseFields returns the values of header fields by their names in lower case.
func parseFields(lines []string) (map[string][]string, bool) {
	fields := map[string][]string{}
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) || hasControl(value) {
			return nil, false
		}
		name = strings.ToLower(name)
		fields[name] = append(fields[name], strings.Trim(value, " \t"))
	}
	return fields, true
}

// length finds where the body ends (RFC 9112 section 6).
func (h *Head) length(fields map[string][]string, version string) bool {
	lengths, codings := fields["content-length"], fields["transfer-encoding"]
	switch {
	case len(codings) > 0:
		h.Body = -1
		return len(lengths) == 0 && version == "HTTP/1.1" && len(codings) == 1 && strings.EqualFold(codings[0], "chunked")
	case len(lengths) > 1:
		return false
	case len(lengths) == 1:
		if lengths[0] == "" || strings.Trim(lengths[0], "0123456789") != "" {
			return false
		}
		n, err := strconv.ParseInt(lengths[0], 10, 64)
		h.Body = n
		return err == nil
	}
	return true
}

// host finds the one host that a request is for: that of its target, if there is one, must be
// the same. A tunnel is for no host of ours.
func (h *Head) host(hosts []string, target string) bool {
	if len(hosts) > 1 || strings.EqualFold(h.Method, "CONNECT") {
		return false
	}
	if len(hosts) == 1 {
		var ok bool
		if h.Host, ok = hostOf(hosts[0]); !ok {
			return false
		}
	}
	if strings.HasPrefix(target, "/") || target == "*" {
		return true
	}
	at, err := url.Parse(target)
	if err != nil || !strings.EqualFold(at.Scheme, "http") || at.User != nil {
		return false
	}
	named, ok := hostOf(at.Host)
	return ok && named == h.Host
}

// hostOf takes a port off.
func hostOf(text string) (string, bool) {
	if host, port, err := net.SplitHostPort(text); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", false
		}
		text = host
	}
	return canonical(text)
}

const tokenSigns = "!#$%&'*+-.^_`|~"

func isTokenByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte(tokenSigns, b) >= 0
}

func isToken(s string) bool {
	return s != "" && !slices.ContainsFunc([]byte(s), func(b byte) bool { return !isTokenByte(b) })
}

// hasControl finds bytes at which readers part ways: line ends of other kinds, and zero.
func hasControl(s string) bool {
	return slices.ContainsFunc([]byte(s), func(b byte) bool { return b < ' ' && b != '\t' || b == 0x7f })
}
