package intercept

import (
	"strings"

	"shoal/internal/shoal"
)

// Match finds the transform of a server's name, and the domain that it was listed by. The name
// itself comes before wildcards, and the longest wildcard before shorter ones; "*.a" is for all
// names below a, and not for a. Transforms are never merged: one without headers has its names left
// alone. The domains are in lower case.
func Match(transforms map[string]shoal.Transform, name string) (domain string, t shoal.Transform, ok bool) {
	if len(transforms) == 0 {
		return "", shoal.Transform{}, false
	}
	name = canonical(name)
	if t, ok := transforms[name]; ok {
		return listed(name, t)
	}
	for rest := name; ; {
		at := strings.IndexByte(rest, '.')
		if at < 0 {
			return "", shoal.Transform{}, false
		}
		domain := "*" + rest[at:]
		if t, ok := transforms[domain]; ok && len(rest[at:]) < len(name) {
			return listed(domain, t)
		}
		rest = rest[at+1:]
	}
}

func listed(domain string, t shoal.Transform) (string, shoal.Transform, bool) {
	if len(t.Headers) == 0 {
		return "", shoal.Transform{}, false
	}
	return domain, t, true
}

// canonical writes a server's name in one way.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
