package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// installation is one Shoal of the tests' own: directories, ports, addresses
// and names that no other installation on the machine uses.
type installation struct {
	dataDir, runDir string
	api, proxy      string // host:port
	health, node    string
	nodeProxy       string
	env             []string
}

// newInstallation shares the base image with earlier runs, and nothing else.
func newInstallation(dir string) (*installation, error) {
	i := &installation{dataDir: filepath.Join(dir, "data"), runDir: filepath.Join(dir, "run")}
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	i.api, i.proxy, i.health, i.node, i.nodeProxy = ports[0], ports[1], ports[2], ports[3], ports[4]
	i.env = append(os.Environ(),
		"SHOAL_DEV=true", "SHOAL_INSTANCE=e2e", "SHOAL_IMAGE_DIR="+imageDir,
		"SHOAL_DATA_DIR="+i.dataDir, "SHOAL_RUN_DIR="+i.runDir,
		"SHOAL_API_LISTEN="+i.api, "SHOAL_PROXY_LISTEN="+i.proxy, "SHOAL_HEALTH_LISTEN="+i.health,
		"SHOAL_NODE_LISTEN="+i.node, "SHOAL_NODE_PROXY_LISTEN="+i.nodeProxy,
		"SHOAL_HOST_CIDR=10.61.0.0/16", "SHOAL_VETH_CIDR=10.62.0.0/16", "SHOAL_LOG_FORMAT=text",
	)
	return i, nil
}

// freePorts finds ports that nobody listens on, all at once so that they differ.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// process is a running shoal command whose output is kept.
type process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
	err  error         // of its end
}

// output collects lines and wakes whoever waits for one.
type output struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	change chan struct{}
}

func newOutput() *output { return &output{change: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.change)
	o.change = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) state() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.change
}

// shoal starts a command of the binary under test.
func (i *installation) shoal(args ...string) (*process, error) {
	p := &process{cmd: exec.Command(binary, args...), out: newOutput(), done: make(chan struct{})}
	p.cmd.Env = i.env
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// Its own group: an interrupt of the tests must not reach it before they stop it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Guests inherit nothing of it, so Wait must not wait for their descriptors.
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// awaitLine waits until the output contains text.
func (p *process) awaitLine(text string, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		out, change := p.out.state()
		if strings.Contains(out, text) {
			return nil
		}
		select {
		case <-change:
		case <-p.done:
			if out, _ := p.out.state(); strings.Contains(out, text) {
				return nil
			}
			return fmt.Errorf("ended (%v) before it said %q:\n%s", p.err, text, tail(out))
		case <-timer.C:
			return fmt.Errorf("did not say %q within %s:\n%s", text, limit, tail(out))
		}
	}
}

// stop asks the process to end and waits for it.
func (p *process) stop(sig syscall.Signal, limit time.Duration) error {
	select {
	case <-p.done: // something else, `shoal down` perhaps, was first
		return p.err
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.done
		out, _ := p.out.state()
		return fmt.Errorf("did not end within %s after %s:\n%s", limit, sig, tail(out))
	}
}

// run executes a command to its end.
func (i *installation) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = i.env
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// sdkEnv is what a user exports, and nothing else of E2B's.
func (i *installation) sdkEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "E2B_") {
			env = append(env, e)
		}
	}
	return append(env, "E2B_API_URL=http://"+i.api, "E2B_SANDBOX_URL=http://"+i.proxy, "E2B_API_KEY="+shoal.DevAPIKey)
}

// call makes an API request with the development key.
func (i *installation) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+i.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", shoal.DevAPIKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// eventually polls until probe is true.
func eventually(t *testing.T, limit time.Duration, what string, probe func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !probe() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within %s: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
