package attack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// policies are what a guest may have been allowed. No tenant's policy opens an internal
// range.
var policies = map[string]string{
	"without a policy":   "",
	"all denied":         `,"allow_internet_access":false`,
	"internal allowed":   `,"network":{"allowOut":["10.0.0.0/8","169.254.169.254","192.168.0.0/16","127.0.0.0/8","168.63.129.16","192.0.0.192","100.64.0.0/10","172.16.0.0/12"]}`,
	"only one allowed":   `,"network":{"denyOut":["0.0.0.0/0"],"allowOut":["10.1.2.3"]}`,
	"everything allowed": `,"network":{"allowOut":["0.0.0.0/0"]}`,
}

// TestGuestsReachNothingInternal lets root in guests try every internal range, the host's own
// addresses, and a neighbor, under each policy.
func TestGuestsReachNothingInternal(t *testing.T) {
	neighbor := create(t, "")
	if err := neighbor.start(t.Context(), "root", "python3 -m http.server 80"); err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(neighbor.URL, "http://"), ":")
	targets := append(slices.Clone(ownAddresses), host, "10.91.0.1", "10.92.0.1", "10.92.0.2", "169.254.0.22")
	for _, address := range internalRanges {
		targets = append(targets, address)
	}
	// Loopback is the guest's own.
	targets = slices.DeleteFunc(targets, func(a string) bool { return strings.HasPrefix(a, "127.") || a == "::1" })
	nothingArrives(t)
	t.Run("policies", func(t *testing.T) {
		for name, policy := range policies {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				guest := create(t, policy)
				out := guest.python(t, time.Minute, "root", "reach.py", targets...)
				if !strings.Contains(out, fmt.Sprint("tried ", len(targets))) || strings.Contains(out, "connected") {
					t.Errorf("%s", out)
				}
			})
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if log, err := neighbor.run(ctx, "root", "cat /tmp/started.log"); err != nil || strings.Contains(log, "GET") {
		t.Errorf("somebody has called the neighbor: %q, error %v", log, err)
	}
	neighbor.works(t)
}

// TestGuestsReachWhatIsOpen shows that guests could be seen inside: what the operator has
// opened answers them, and so does the public side, but no name or redirect leads further.
func TestGuestsReachWhatIsOpen(t *testing.T) {
	nothingArrives(t)
	guest := create(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	name := func(address string) string { return strings.TrimSuffix(nameOf(address), ".") }
	for _, try := range []struct{ url, want string }{
		{opened, secret},
		{name(opened), secret},
		{website, "public"},
		{name(website), "public"},
		{website + "/to/" + opened, secret},
		{"10.1.2.3", ""},
		{name("10.1.2.3"), ""},
		{name("169.254.169.254"), ""},
		{website + "/to/169.254.169.254/latest", ""},
		{website + "/to/" + name("192.168.1.1"), ""},
	} {
		out, _ := guest.run(ctx, "user", "curl -sL -m 10 http://"+try.url)
		if strings.TrimSpace(out) != try.want {
			t.Errorf("%s answers %q, want %q", try.url, out, try.want)
		}
	}
	// The node service tells a guest of itself, and nothing else is there.
	for path, want := range map[string]string{"/me": guest.ID, "/": "404", "/metrics": "404", "/to/10.1.2.3": "404"} {
		out, _ := guest.run(ctx, "root", "curl -s -m 10 http://192.0.2.1"+path+" -H 'Host: 10.1.2.3' -H 'X-Forwarded-For: 10.91.0.9'")
		if !strings.Contains(out, want) {
			t.Errorf("192.0.2.1%s answers %q, want %q", path, out, want)
		}
	}
}
