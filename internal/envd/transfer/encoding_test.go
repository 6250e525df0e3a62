package transfer

import (
	"net/http"
	"testing"
)

func TestNegotiate(t *testing.T) {
	const no = "406"
	for _, c := range []struct{ accept, conditional, want string }{
		{"", "", identity},
		{"gzip", "", gzipped},
		{"gzip, deflate, br", "", gzipped},
		{"identity, gzip", "", identity},
		{"gzip;q=0.5, identity;q=0.8", "", identity},
		{"gzip; q=0.9, identity ;q=0.8", "", gzipped},
		{"GZIP", "", gzipped},
		{"br", "", identity},
		{"*", "", identity},
		{"*;q=0.5, gzip;q=0.1", "", identity},
		{"identity;q=0, *", "", gzipped},
		{"identity;q=0, *, gzip;q=0", "", no},
		{"gzip;q=0", "", identity},
		{"identity;q=0", "", no},
		{"*;q=0", "", no},
		{"*;q=0, identity;q=0.1", "", identity},
		{"*;q=0, gzip", "", gzipped},
		{"br, *;q=0", "", no},
		{"gzip;q=nonsense", "", identity},
		{"identity;q=NaN", "", no},
		{"gzip", "Range", identity},
		{"gzip", "If-None-Match", identity},
		{"gzip, identity;q=0", "If-Range", no},
		{"gzip, *;q=0", "If-Modified-Since", no},
	} {
		h := http.Header{}
		if c.accept != "" {
			h.Set("Accept-Encoding", c.accept)
		}
		if c.conditional != "" {
			h.Set(c.conditional, "x")
		}
		got, ok := negotiate(h)
		if !ok {
			got = no
		}
		if got != c.want {
			t.Errorf("%q %s: %s, want %s", c.accept, c.conditional, got, c.want)
		}
	}
}
