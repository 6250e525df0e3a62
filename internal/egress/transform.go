package egress

import (
	"context"
	"maps"

	"shoal/internal/shoal"
)

// transformOf finds the transform of a server name: an exact domain comes before a wildcard, and
// of those the longest suffix.
func transformOf(transforms map[string]shoal.Transform, name string) (domain string, t shoal.Transform) {
	if name == "" {
		return "", t
	}
	for d, candidate := range transforms {
		if matches(d, name) && (domain == "" || d == name || domain != name && len(d) > len(domain)) {
			domain, t = d, candidate
		}
	}
	return domain, t
}

func sameTransform(a, b map[string]shoal.Transform, domain string) bool {
	have, ok := a[domain]
	return ok && maps.Equal(have.Headers, b[domain].Headers)
}

// transform ends TLS here and begins it again towards the server.
func (s *Server) transform(context.Context, *connection, greetings) error {
	return errNotConnected
}
