package transfer

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzNegotiate holds a download to have a coding that the client knows, and never gzip
// where it asks for a part of the file.
func FuzzNegotiate(f *testing.F) {
	for _, seed := range []string{"", "gzip", "identity", "*", "gzip;q=0", "*;q=0", "identity;q=0, gzip", "gzip;q=0.5, *;q=0.1", "GZIP ; Q=1",
		"gzip;q=NaN", "gzip;q=-1", "gzip;q=1e400", "br, deflate", ";,;", "gzip;q=0,gzip"} {
		f.Add(seed, "")
		f.Add(seed, "bytes=0-1")
	}
	f.Fuzz(func(t *testing.T, accept, part string) {
		header := http.Header{"Accept-Encoding": {accept}}
		if part != "" {
			header.Set("Range", part)
		}
		coding, ok := negotiate(header)
		lower := strings.ToLower(accept)
		switch {
		case coding != identity && coding != gzipped:
			t.Errorf("%q: coding %q", accept, coding)
		case ok && coding == gzipped && part != "":
			t.Errorf("%q: a part is compressed", accept)
		case ok && coding == gzipped && !strings.Contains(lower, gzipped) && !strings.Contains(lower, "*"):
			t.Errorf("%q: gzip was not asked for", accept)
		case !ok && !strings.Contains(lower, "identity") && !strings.Contains(lower, "*"):
			t.Errorf("%q: refused, but nothing excludes the file as it is", accept)
		}
	})
}
