package proxy

import (
	"net/http"
	"slices"
	"testing"
)

// TestOwnCookies: a sandbox gets the cookies that are meant for it, as the client wrote them, and
// none of the API's.
func TestOwnCookies(t *testing.T) {
	for _, c := range []struct{ sent, want []string }{
		{nil, nil},
		{[]string{"a=1;  b=2"}, []string{"a=1;  b=2"}},
		{[]string{"shoal-session=x"}, nil},
		{[]string{"a=1; shoal-session=x; b=shoal-session"}, []string{"a=1; b=shoal-session"}},
		{[]string{"__Host-shoal-session=x;a=1", "__Host-shoal-sign-in=y"}, []string{"a=1"}},
		{[]string{"shoal-sign-in=x; shoal-sessions=y", "b=2"}, []string{"shoal-sessions=y", "b=2"}},
	} {
		h := http.Header{}
		if c.sent != nil {
			h["Cookie"] = c.sent
		}
		if dropOwnCookies(h); !slices.Equal(h["Cookie"], c.want) {
			t.Errorf("%q: the sandbox gets %q, not %q", c.sent, h["Cookie"], c.want)
		}
	}
}
