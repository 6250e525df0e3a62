package doctor

import (
	"strings"
	"testing"

	"shoal/internal/live/livetest"
)

func TestRedis(t *testing.T) {
	cfg := settings(t)
	if got := askRedis(t.Context(), cfg); len(got) > 0 {
		t.Errorf("without Redis: %+v", got)
	}
	// is wants the worst of the results to be such a one, and nothing to mend only if all is well.
	is := func(what string, level Level, found string) {
		t.Helper()
		results := askRedis(t.Context(), cfg)
		worst := results[0]
		for _, r := range results {
			if r.Level > worst.Level {
				worst = r
			}
		}
		if worst.Level != level || !strings.Contains(worst.Found, found) || (worst.Fix == "") != (level == OK) {
			t.Errorf("%s: %+v", what, results)
		}
		for _, r := range results {
			if strings.Contains(r.Found+r.Fix, "wrong@") {
				t.Errorf("the address is shown: %+v", r)
			}
		}
	}
	server := livetest.Start(t)
	cfg.Redis = server.URL()
	is("a server", OK, "it answers")
	client := server.Client()
	set := func(name, value string) {
		if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("maxmemory", "100mb")
	is("bounded, but refuses", OK, "it answers")
	set("maxmemory-policy", "allkeys-lru")
	is("drops keys", Note, "allkeys-lru")
	set("requirepass", "hush")
	is("no password", Warn, "NOAUTH")
	cfg.Redis = strings.Replace(server.URL(), "://", "://:wrong@", 1)
	is("another password", Warn, "WRONGPASS")
	server.Kill()
	is("away", Warn, "each goes on by itself")
}
