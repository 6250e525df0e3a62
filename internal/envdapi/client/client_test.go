package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/envd"
	"shoal/internal/envd/access"
	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

// patience bounds every wait of a test. Nothing should take that long.
const patience = 20 * time.Second

// daemon is a real one, on loopback.
type daemon struct {
	host  string
	conns atomic.Int64 // connections that it accepted
}

func startDaemon(t testing.TB, host string, facts envdapi.Facts) *daemon {
	t.Helper()
	env := map[string]string{}
	for _, entry := range facts.Environ() {
		key, value, _ := strings.Cut(entry, "=")
		env[key] = value
	}
	dir := t.TempDir()
	config := envd.DefaultConfig(slog.New(slog.DiscardHandler))
	config.ForwardPorts, config.ReapOrphans = false, false
	config.HostsFile, config.RunDir = filepath.Join(dir, "hosts"), filepath.Join(dir, "run")
	config.Authority = access.Authority{Path: filepath.Join(dir, "none"),
		Lookup: func(key string) string { return env[key] }}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(envdapi.Port)))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{host: host}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- envd.New(config).Run(ctx, counting{listener, &d.conns}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	})
	return d
}

type counting struct {
	net.Listener
	accepted *atomic.Int64
}

func (l counting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestClaim is the life of a guest that is started ahead: all that is done in it, until it
// is a sandbox's, goes over one connection.
func TestClaim(t *testing.T) {
	d := startDaemon(t, "127.49.98.4", envdapi.Facts{Sandbox: "true", BootHash: envdapi.BootHash("secret")})
	ctx := patient(t)
	ahead := New(d.host, "", KeepAlive())
	must(t, ahead.Ready(ctx))
	must(t, ahead.Init(ctx, envdapi.Init{DefaultUser: "root"}))
	must(t, ahead.WarmUp(ctx, "root"))
	identity := envdapi.Identity{Secret: "wrong", SandboxID: "i1", TemplateID: "t",
		TokenHash: envdapi.TokenHash("token")}
	body := envdapi.Init{EnvVars: map[string]string{"FROM_CLIENT": "2"}, AccessToken: "token",
		Identity: &identity}
	body.HyperloopIP = envdapi.HyperloopIP
	if err := ahead.Init(ctx, body); err != nil {
		t.Errorf("the first token was refused: %v", err)
	}
	if err := ahead.Init(ctx, envdapi.Init{AccessToken: "other"}); err == nil {
		t.Error("a token was replaced without the secret")
	}
	identity.Secret = "secret"
	must(t, ahead.Init(ctx, body))
	ahead.Close()
	if n := d.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}

	guest := New(d.host, "token")
	out, err := guest.Text(ctx, Command{Args: []string{"/bin/sh", "-c",
		"echo $FROM_CLIENT $E2B_SANDBOX_ID $E2B_TEMPLATE_ID"}})
	must(t, err)
	if out != "2 i1 t\n" {
		t.Errorf("the guest knows of itself: %q", out)
	}
	if n := d.conns.Load(); n != 2 {
		t.Errorf("%d connections, want one more", n)
	}
	if _, err := New(d.host, "").Metrics(ctx); err == nil {
		t.Error("metrics without the token")
	}
	m, err := guest.Metrics(ctx)
	if err != nil || m.CPUCount < 1 || m.MemTotal <= 0 || m.MemUsed <= 0 || m.DiskTotal <= 0 ||
		time.Since(m.Time) > patience {
		t.Errorf("metrics %+v, error %v", m, err)
	}
}

// TestWarmUpOfAnUnknownUser: a request that the daemon refuses is told from a command that
// fails.
func TestWarmUpOfAnUnknownUser(t *testing.T) {
	d := startDaemon(t, "127.49.98.5", envdapi.Facts{})
	ctx := patient(t)
	c := New(d.host, "")
	must(t, c.Ready(ctx))
	if err := c.WarmUp(ctx, "nobody-here"); err == nil || !strings.Contains(err.Error(), "nobody-here") {
		t.Errorf("error %v", err)
	}
}

func TestRun(t *testing.T) {
	d := startDaemon(t, "127.49.98.6", envdapi.Facts{})
	ctx := patient(t)
	c := New(d.host, "")
	must(t, c.Ready(ctx))
	dir := t.TempDir()
	path := filepath.Join(dir, "a file & more")
	content := strings.Repeat("content\n", 1000)
	must(t, c.Put(ctx, path, strings.NewReader(content)))
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("%d bytes arrived, error %v", len(got), err)
	}
	if err := c.Put(ctx, dir, strings.NewReader("")); err == nil {
		t.Error("a directory was written")
	}

	var pid uint32
	var output [2]strings.Builder
	err := c.Run(ctx, Command{Args: []string{"/bin/sh", "-c", "pwd; echo $V >&2; cat; exit 3"}, Dir: dir,
		Env: map[string]string{"V": "value"}}, func(p uint32) { pid = p }, func(stderr bool, data []byte) {
		if stderr {
			output[1].Write(data)
		} else {
			output[0].Write(data)
		}
	})
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Status != "exit status 3" {
		t.Errorf("error %v", err)
	}
	if output[0].String() != dir+"\n" || output[1].String() != "value\n" {
		t.Errorf("output %q, errors %q", output[0].String(), output[1].String())
	}
	if alive, err := c.Lives(ctx, pid); alive || err != nil {
		t.Errorf("process %d lives: %v, error %v", pid, alive, err)
	}
	if alive, err := c.Lives(ctx, uint32(os.Getpid())); !alive || err != nil {
		t.Errorf("this process lives: %v, error %v", alive, err)
	}
	_, err = c.Text(ctx, Command{Args: []string{"/bin/sh", "-c", "echo why >&2; kill -9 $$"}})
	if err == nil || err.Error() != "signal: killed: why" {
		t.Errorf("error %v", err)
	}
}

// TestReadyCommandIsKilled: one that is killed again and again is not tried until the limit,
// one that is killed once is.
func TestReadyCommandIsKilled(t *testing.T) {
	d := startDaemon(t, "127.49.98.8", envdapi.Facts{})
	ctx := patient(t)
	c := New(d.host, "")
	must(t, c.Ready(ctx))
	for _, ready := range []string{"kill -9 $$", "(exit 137)"} {
		err := c.Startup(ctx, shoal.StartBlock{Ready: ready}, Silent)
		var wrong *StartError
		var exit *ExitError
		if !errors.As(err, &wrong) || !errors.As(err, &exit) || !exit.Killed() {
			t.Errorf("%s: error %v", ready, err)
		}
	}
	once := filepath.Join(t.TempDir(), "tried")
	must(t, c.Startup(ctx, shoal.StartBlock{Ready: "[ -e " + once + " ] || { touch " + once + "; kill -9 $$; }"}, Silent))
}

// TestNobodyAnswers: the error of a guest that never answers has the cause of the end, and no
// error names its address.
func TestNobodyAnswers(t *testing.T) {
	ctx, cancel := context.WithCancelCause(patient(t))
	ended := errors.New("the guest ended")
	time.AfterFunc(3*attemptPause, func() { cancel(ended) })
	if err := New("127.49.98.7", "").Ready(ctx); !errors.Is(err, ended) || strings.Contains(err.Error(), "127.") {
		t.Errorf("error %v", err)
	}
	for name, call := range calls {
		if name == "health" || name == "init" { // they are repeated
			continue
		}
		if err := call(patient(t), New("127.49.98.7", "")); err == nil || strings.Contains(err.Error(), "127.") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
