package live

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/certificate/certificatetest"
	"shoal/internal/live/livetest"
	"shoal/internal/shares"
)

// open returns a state of its own on a server, which runs until the test ends.
func open(t *testing.T, cfg Config) *Redis {
	t.Helper()
	if cfg.Installation == "" {
		cfg.Installation = "test"
	}
	r, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	return r
}

func run(t *testing.T, r *Redis) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r.Close()
	})
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// slow is a rate of which nothing comes back while a test runs.
var slow = shares.Rate{PerSecond: 1e-6, Burst: 40}

// granted counts how much of a rate can be had.
func granted(t *testing.T, taker string, of ...*Redis) (n int) {
	t.Helper()
	for i := 0; ; i++ {
		if i > 1000 {
			t.Fatal("there is no end of it")
		}
		a := of[i%len(of)].Take(t.Context(), taker, 1, slow)
		if !a.Granted {
			if a.Wait <= 0 || a.Left != 0 {
				t.Errorf("refused with %+v", a)
			}
			return n
		}
		n++
	}
}

func TestRatesAreOfAll(t *testing.T) {
	server := livetest.Start(t)
	a, b := open(t, Config{URL: server.URL()}), open(t, Config{URL: server.URL()})
	other := open(t, Config{URL: server.URL(), Installation: "other"})
	if got := a.Take(t.Context(), "x", 10, slow); !got.Granted || got.Left != 30 {
		t.Errorf("%+v", got)
	}
	if got := b.Take(t.Context(), "x", 5, slow); !got.Granted || got.Left != 25 {
		t.Errorf("the other api: %+v", got)
	}
	b.Give(t.Context(), "x", 3, slow)
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for i := range 200 {
		wg.Go(func() {
			if []*Redis{a, b}[i%2].Take(t.Context(), "x", 1, slow).Granted {
				mu.Lock()
				defer mu.Unlock()
				n++
			}
		})
	}
	wg.Wait()
	if n != 28 {
		t.Errorf("%d were granted of 28", n)
	}
	if n := granted(t, "y", a, b); n != 40 {
		t.Errorf("another taker has %d", n)
	}
	if n := granted(t, "x", other); n != 40 {
		t.Errorf("another installation has %d", n)
	}
	// What is more than the burst is granted when all of it is there, and paid for later.
	if got := a.Take(t.Context(), "z", 100, slow); !got.Granted || got.Left != 0 {
		t.Errorf("%+v", got)
	}
	if got := b.Take(t.Context(), "z", 1, slow); got.Granted {
		t.Errorf("%+v", got)
	}
	if lasting, err := server.Lasting(t.Context()); err != nil || len(lasting) > 0 {
		t.Errorf("%q stay for ever, %v", lasting, err)
	}
}

// TestRatesAsInMemory: what Redis grants is what the memory of one process grants.
func TestRatesAsInMemory(t *testing.T) {
	server := livetest.Start(t)
	r := open(t, Config{URL: server.URL()})
	own := NewMemory()
	for i, n := range []int{1, 0, 39, 1, -5, 3, 3, -100, 41, 1, -1, 2, 0} {
		got, want := r.Take(t.Context(), "x", n, slow), own.Take(t.Context(), "x", n, slow)
		near := func(a, b time.Duration) bool { return (a - b).Abs() < a/100+time.Minute }
		if got.Granted != want.Granted || got.Left != want.Left || !near(got.Full, want.Full) || !near(got.Wait, want.Wait) {
			t.Errorf("%d. %d: %+v, want %+v", i, n, got, want)
		}
	}
}

func TestTriesAreOfAll(t *testing.T) {
	server := livetest.Start(t)
	a, b := open(t, Config{URL: server.URL()}), open(t, Config{URL: server.URL()})
	counts := []Count{{Key: "both", Free: 3, Ends: true}, {Key: "account", Free: 100}}
	ctx := t.Context()
	for i := range 3 {
		if wait := []*Redis{a, b}[i%2].BeginTry(ctx, counts); wait > 0 {
			t.Fatalf("try %d waits %s", i, wait)
		}
	}
	for _, r := range []*Redis{a, b} {
		if wait := r.BeginTry(ctx, counts); wait <= 0 || wait > firstWait {
			t.Errorf("waits %s", wait)
		}
	}
	if wait := b.BeginTry(ctx, counts[1:]); wait > 0 {
		t.Errorf("the account alone waits %s", wait)
	}
	b.RightTry(ctx, counts)
	if wait := a.BeginTry(ctx, counts); wait > 0 {
		t.Errorf("waits %s after a right try", wait)
	}
	if lasting, err := server.Lasting(ctx); err != nil || len(lasting) > 0 {
		t.Errorf("%q stay for ever, %v", lasting, err)
	}
	keys, err := server.Client().Keys(ctx, "*account*").Result()
	if err != nil || len(keys) > 0 {
		t.Errorf("keys tell of %q, %v", keys, err)
	}
}

func TestCatalogue(t *testing.T) {
	server := livetest.Start(t)
	a, b := open(t, Config{URL: server.URL()}), open(t, Config{URL: server.URL()})
	find := func() string { id, _ := b.Find(t.Context(), "isandbox"); return id }
	if id := find(); id != "" {
		t.Errorf("unknown is on %q", id)
	}
	a.Put("isandbox", "node1")
	eventually(t, "said", func() bool { return find() == "node1" })
	a.Put("isandbox", "node2")
	eventually(t, "moved", func() bool { return find() == "node2" })
	if lasting, err := server.Lasting(t.Context()); err != nil || len(lasting) > 0 {
		t.Errorf("%q stay for ever, %v", lasting, err)
	}
	a.Drop("isandbox")
	eventually(t, "dropped", func() bool { return find() == "" })
	if _, ok := b.Find(t.Context(), strings.Repeat("x", maxID+1)); ok {
		t.Error("it has what is too long")
	}
}

// ear keeps what was heard.
type ear struct {
	mu   sync.Mutex
	news []News
}

func (e *ear) hear(n News) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.news = append(e.news, n)
}

func (e *ear) has(n News) (times int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.news {
		if one == n {
			times++
		}
	}
	return times
}

func TestNews(t *testing.T) {
	server := livetest.Start(t)
	var mine, others ear
	a := open(t, Config{URL: server.URL(), Hear: mine.hear})
	b := open(t, Config{URL: server.URL(), Hear: others.hear})
	eventually(t, "both hear", func() bool { return a.Degraded() == nil && b.Degraded() == nil })
	loud := News{Kind: LogLevel, Text: "debug"}
	if !a.Tell(t.Context(), loud) {
		t.Error("it was not sent")
	}
	eventually(t, "heard", func() bool { return others.has(loud) == 1 })
	if n := mine.has(loud); n > 0 {
		t.Error("who tells hears it")
	}
	before := others.has(News{Kind: Changed})
	if err := Announce(t.Context(), Config{URL: server.URL(), Installation: "test"}, News{Kind: Changed}); err != nil {
		t.Error(err)
	}
	eventually(t, "a command is heard", func() bool { return others.has(News{Kind: Changed}) > before })
	// What was told meanwhile is made up for by asking the store again.
	before = others.has(News{Kind: Changed})
	server.Kill()
	eventually(t, "lost", func() bool { return b.Degraded() != nil })
	server.Restart()
	eventually(t, "heals", func() bool { return a.Degraded() == nil && b.Degraded() == nil })
	eventually(t, "asked again", func() bool { return others.has(News{Kind: Changed}) > before })
	if !a.Tell(t.Context(), loud) {
		t.Error("it was not sent")
	}
	eventually(t, "heard again", func() bool { return others.has(loud) == 2 })
}

// TestLost: two apis count by themselves while the server is away, each with its part, and together
// again when it is back.
func TestLost(t *testing.T) {
	server := livetest.Start(t)
	a, b := open(t, Config{URL: server.URL()}), open(t, Config{URL: server.URL()})
	eventually(t, "they know each other", func() bool { return a.apis.Load() == 2 && b.apis.Load() == 2 })
	if n := granted(t, "x", a, b); n != 40 {
		t.Errorf("together %d", n)
	}
	server.Kill()
	for _, r := range []*Redis{a, b} {
		if n := granted(t, "y", r); n != 20 {
			t.Errorf("one by itself %d", n)
		}
		if r.Degraded() == nil {
			t.Error("it does not say so")
		}
		if _, ok := r.Find(t.Context(), "isandbox"); ok {
			t.Error("it knows a sandbox")
		}
		counts := []Count{{Key: "k", Free: 1, Ends: true}}
		if first, second := r.BeginTry(t.Context(), counts), r.BeginTry(t.Context(), counts); first > 0 || second <= 0 {
			t.Errorf("tries wait %s and %s", first, second)
		}
		if r.Tell(t.Context(), News{Kind: Changed}) {
			t.Error("it says that it was heard")
		}
	}
	server.Restart()
	eventually(t, "healed", func() bool { return a.Degraded() == nil && b.Degraded() == nil })
	if n := granted(t, "y", a, b); n != 40 {
		t.Errorf("together again %d", n)
	}
}

// TestStalled: nobody waits for a server that takes connections and does not answer.
func TestStalled(t *testing.T) {
	server := livetest.Start(t)
	r := open(t, Config{URL: server.URL()})
	eventually(t, "it hears", func() bool { return r.Degraded() == nil })
	server.Stall()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { r.Take(t.Context(), "x", 1, slow) })
	}
	wg.Wait()
	if r.Degraded() == nil {
		t.Error("it does not say so")
	}
	for range 10_000 { // each of which would wait
		r.Take(t.Context(), "y", 1, slow)
	}
	server.Resume()
	eventually(t, "healed", func() bool { return r.Degraded() == nil })
}

// TestAbsent: a server that comes later is found.
func TestAbsent(t *testing.T) {
	server := livetest.Start(t)
	server.Kill()
	r := open(t, Config{URL: server.URL()})
	if r.Degraded() == nil {
		t.Error("it does not say so")
	}
	if n := granted(t, "x", r); n != 40 {
		t.Errorf("one by itself %d", n)
	}
	server.Restart()
	eventually(t, "healed", func() bool { return r.Degraded() == nil })
}

// TestCallerGone: a caller that goes away says nothing about the server.
func TestCallerGone(t *testing.T) {
	server := livetest.Start(t)
	r := open(t, Config{URL: server.URL()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Take(ctx, "x", 1, slow)
	if r.lost.Load() {
		t.Error("it is taken for lost")
	}
}

// TestRefused: a server that takes no writes is as good as none, and comes back when it does.
func TestRefused(t *testing.T) {
	server := livetest.Start(t)
	r := open(t, Config{URL: server.URL()})
	client := server.Client()
	if err := client.Do(t.Context(), "CONFIG", "SET", "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if !r.Take(t.Context(), "x", 1, slow).Granted {
		t.Error("nothing is granted")
	}
	if r.Degraded() == nil {
		t.Error("it does not say so")
	}
	if err := client.Do(t.Context(), "CONFIG", "SET", "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "healed", func() bool { return r.Degraded() == nil })
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certify(t, dir)
	plain := livetest.Start(t) // for a free port besides
	port := plain.Port()
	plain.Kill()
	livetest.Start(t, "--tls-port", fmt.Sprint(port), "--tls-cert-file", dir+"/cert", "--tls-key-file", dir+"/key",
		"--tls-auth-clients", "no", "--requirepass", "pass:word")
	at := func(scheme, password string) Config {
		return Config{URL: fmt.Sprintf("%s://:%s@127.0.0.1:%d/3", scheme, password, port), CA: ca, Installation: "test"}
	}
	r := open(t, at("rediss", "pass%3Aword"))
	eventually(t, "it hears", func() bool { return r.Degraded() == nil })
	s, err := Inspect(t.Context(), at("rediss", "pass%3Aword"))
	if err != nil || s.Version == "" || s.Evicts != "" || time.Since(s.Clock).Abs() > time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
	for name, cfg := range map[string]Config{
		"password": at("rediss", "other"), "no TLS": at("redis", "pass%3Aword"),
		"authority": {URL: at("rediss", "pass%3Aword").URL},
	} {
		if _, err := Inspect(t.Context(), cfg); err == nil || strings.Contains(err.Error(), "pass:word") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// certify writes the key and the certificate of 127.0.0.1 into a directory, with that of who signed it,
// whose file it returns.
func certify(t *testing.T, dir string) string {
	authority, err := certificatetest.New()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := authority.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key, err := certificatetest.KeyPEM(certificate)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ca": authority.PEM(), "key": key,
		"cert": certificatetest.CertificatePEM(certificate)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "ca")
}

func TestOptions(t *testing.T) {
	for _, wrong := range []string{"", "http://h", "redis://:se%ret@h", "redis://h/x"} {
		if _, err := options(wrong, ""); err == nil || strings.Contains(err.Error(), "ret") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if _, err := options("rediss://h", "/nowhere"); err == nil {
		t.Error("a missing file is taken")
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := options("rediss://h", empty); err == nil {
		t.Error("a file without a certificate is taken")
	}
}
