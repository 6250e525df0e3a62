package network

import (
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// TestDomains are the rules about names (runtime.md §2.3).
func TestDomains(t *testing.T) {
	n := newNamedWorld(t)
	n.serveTLS(internetIP+":443", "hello", "allowed.test", "other.test", "sub.allowed.test", "a.b.allowed.test")
	for _, name := range []string{"allowed.test", "other.test", "sub.allowed.test", "a.b.allowed.test"} {
		n.zone.set(name, internetIP)
	}
	wrong := otherIP + ":443" // nobody is there
	for _, c := range []struct {
		policy shoal.Network
		name   string
		want   bool
	}{
		{only("allowed.test"), "allowed.test", true},
		{only("allowed.test"), "ALLOWED.test", true},
		{only("Allowed.Test"), "allowed.test", true},
		{only("allowed.test"), "other.test", false},
		{only("allowed.test"), "sub.allowed.test", false},
		{only("*.allowed.test"), "sub.allowed.test", true},
		{only("*.allowed.test"), "a.b.allowed.test", true},
		{only("*.allowed.test"), "allowed.test", false},
		{only("*"), "other.test", true},
		{only("other.test", "allowed.test"), "allowed.test", true},
		{only("1.1.1.1", "allowed.test"), "other.test", false},
	} {
		n.policy(c.policy)
		// Whatever address the guest takes for the name's, the name is what counts.
		for _, address := range []string{internetIP + ":443", wrong} {
			body, err := n.https(address, c.name, c.name)
			if got := err == nil && strings.Contains(body, "hello"); got != c.want {
				t.Errorf("TLS %v: %s at %s: reached = %v, %v", c.policy.AllowOut, c.name, address, got, err)
			}
		}
		body, err := n.http(otherIP+":80", c.name)
		if got := err == nil && strings.Contains(body, "from t-inet"); got != c.want {
			t.Errorf("HTTP %v: %s: reached = %v, %v", c.policy.AllowOut, c.name, got, err)
		}
	}
	n.policy(only("allowed.test", otherIP))
	if body, err := n.http(otherIP+":80", "strange.test"); err != nil || !strings.Contains(body, "from t-inet") {
		t.Errorf("an allowed address, with another name: %q %v", body, err)
	}
	n.policy(shoal.Network{})
	n.reaches("http://" + internetIP)
}
