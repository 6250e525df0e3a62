package doctor

import (
	"context"
	"strings"
	"testing"
	"time"

	"shoal/internal/config"
)

// TestServers: a server's answers carry its name, and one that does not answer costs a bounded time.
func TestServers(t *testing.T) {
	before := servers
	t.Cleanup(func() { servers = before })
	servers = []server{
		{"one", func(ctx context.Context, _ *config.Config) []Result {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("a server may take for ever")
			}
			return []Result{ok("there"), ok("right").of("clock")}
		}},
		{"none", func(context.Context, *config.Config) []Result { return nil }},
	}
	var names []string
	for _, r := range askServers(t.Context(), settings(t)) {
		names = append(names, r.Name)
	}
	if strings.Join(names, ",") != "one,one clock" {
		t.Errorf("got %q", names)
	}
}

// TestSkew: only what an exchange proves counts.
func TestSkew(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	after := func(d time.Duration) time.Time { return at.Add(d) }
	for name, c := range map[string]struct {
		e     exchange
		level Level
		found string
	}{
		"same":             {exchange{at, after(time.Second), after(2 * time.Second), 0}, OK, "within"},
		"slow answer":      {exchange{at, at, after(8 * time.Second), 0}, OK, "within"},
		"ahead":            {exchange{at, after(time.Minute), after(time.Second), 0}, Warn, "59s ahead of"},
		"behind":           {exchange{at, after(-time.Minute), after(time.Second), 0}, Warn, "1m0s behind"},
		"told in seconds":  {exchange{after(900 * time.Millisecond), at, after(time.Second), time.Second}, OK, "within"},
		"behind, seconds":  {exchange{at, after(-4 * time.Second), at, time.Second}, Warn, "3s behind"},
		"little is no sin": {exchange{at, after(2 * time.Second), at, 0}, OK, "within"},
	} {
		r := c.e.judge()
		if r.Level != c.level || !strings.Contains(r.Found, c.found) || r.Name != "clock" || (r.Fix == "") != (r.Level == OK) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
