package doctor

import (
	"strings"
	"testing"

	"shoal/internal/live/livetest"
)

func TestRedis(t *testing.T) {
	cfg := settings(t)
	is := func(what string, level Level, found string) {
		t.Helper()
		r := checkRedis(t.Context(), cfg)
		if r.Level != level || !strings.Contains(r.Found, found) || (r.Fix == "") != (level == OK) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	is("none", OK, "not used")
	server := livetest.Start(t)
	cfg.Redis = server.URL()
	is("a server", OK, "Redis ")
	client := server.Client()
	set := func(name, value string) {
		if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("maxmemory", "100mb")
	is("bounded, but refuses", OK, "Redis ")
	set("maxmemory-policy", "allkeys-lru")
	is("drops keys", Note, "allkeys-lru")
	set("requirepass", "hush")
	is("no password", Warn, "NOAUTH")
	cfg.Redis = strings.Replace(server.URL(), "://", "://:wrong@", 1)
	is("another password", Warn, "WRONGPASS")
	if r := checkRedis(t.Context(), cfg); strings.Contains(r.Found+r.Fix, "wrong@") {
		t.Errorf("the address is shown: %+v", r)
	}
	server.Kill()
	is("away", Warn, "each goes on by itself")
}
