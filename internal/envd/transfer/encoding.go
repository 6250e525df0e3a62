package transfer

import (
	"net/http"
	"strconv"
	"strings"
)

// The codings a download can have.
const (
	identity = "identity"
	gzipped  = "gzip"
)

// conditional headers need the bytes as they are on disk.
var conditional = []string{"Range", "If-Modified-Since", "If-None-Match", "If-Range"}

// negotiate chooses the coding of a download (envd.md §1.6); ok is false when
// the client accepts neither. The highest q wins, then the order in the list.
func negotiate(header http.Header) (coding string, ok bool) {
	accepted := parseAccept(strings.Join(header.Values("Accept-Encoding"), ","))
	for _, name := range conditional {
		if header.Get(name) != "" {
			return identity, !accepted.refused(identity)
		}
	}
	return accepted.choose()
}

type accepted struct {
	order []string           // gzip, identity and * as the client listed them
	q     map[string]float64 // 0 to 1
}

func parseAccept(value string) accepted {
	a := accepted{q: map[string]float64{}}
	for item := range strings.SplitSeq(value, ",") {
		name, params, _ := strings.Cut(item, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != identity && name != gzipped && name != "*" {
			continue
		}
		if _, repeated := a.q[name]; !repeated {
			a.order = append(a.order, name)
		}
		a.q[name] = quality(params)
	}
	return a
}

func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0) { // NaN is neither
			return 0
		}
		return min(q, 1)
	}
	return 1
}

// refused reports whether the client excludes the coding, by its name or, if it is not
// listed, by the asterisk. Only identity is acceptable without being listed.
func (a accepted) refused(coding string) bool {
	if q, named := a.q[coding]; named {
		return q == 0
	}
	q, others := a.q["*"]
	if others {
		return q == 0
	}
	return coding != identity
}

func (a accepted) choose() (string, bool) {
	best, bestQ := "", 0.0
	for _, name := range a.order {
		if q := a.q[name]; q > bestQ {
			best, bestQ = name, q
		}
	}
	switch {
	case best == gzipped, best == identity:
		return best, true
	case best == "*" && !a.refused(identity):
		return identity, true
	case best == "*":
		return gzipped, !a.refused(gzipped)
	}
	return identity, !a.refused(identity)
}
