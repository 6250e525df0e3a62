// Package installation runs Shoals for tests, with directories, ports, addresses and names
// that no other installation on the machine uses.
package installation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"shoal/internal/config"
	"shoal/internal/freeport"
	"shoal/internal/shoal"
)

// FirstStart bounds a start that may have to build the base template.
const FirstStart = 5 * time.Minute

// Ready is in the last line that `shoal up` prints, which it does once it serves.
const Ready = "export E2B_API_KEY"

// Installation is one Shoal. It shares only the base images with other installations, and
// they are kept between runs.
type Installation struct {
	Binary, ImageDir string
	Dir              string // contains DataDir; Remove deletes it, and RunDir
	DataDir, RunDir  string
	API, Proxy       string // host:port
	Health, Node     string
	NodeProxy        string
	Env              []string // the environment of every process
	subnet           int
}

// New plans an installation for the repository at root. The name and the subnet keep it
// apart from others: its addresses are 10.x.0.0/16 and the next one up, where x is the
// subnet. env adds settings as SHOAL_NAME=value.
func New(root, name string, subnet int, env ...string) (*Installation, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	for _, s := range []int{subnet, subnet + 1} {
		if by, taken := subnets.LoadOrStore(s, name); taken {
			return nil, fmt.Errorf("installation %s has addresses of %s: 10.%d.0.0/16", name, by, s)
		}
	}
	dir, err := makeDir("", name)
	if err != nil {
		return nil, err
	}
	runDir := filepath.Join(dir, "run")
	if config.OnMemory("/dev/shm") {
		if runDir, err = makeDir("/dev/shm", name); err != nil {
			return nil, err
		}
	}
	listens, err := addresses(5)
	if err != nil {
		return nil, err
	}
	i := &Installation{Binary: filepath.Join(root, "bin", "shoal"),
		ImageDir: filepath.Join(root, "bin", "test-images"),
		subnet:   subnet,
		Dir:      dir, DataDir: filepath.Join(dir, "data"), RunDir: runDir,
		API: listens[0], Proxy: listens[1], Health: listens[2], Node: listens[3], NodeProxy: listens[4]}
	i.Env = append(os.Environ(),
		"SHOAL_DEV=true", "SHOAL_INSTANCE="+name, "SHOAL_IMAGE_DIR="+i.ImageDir,
		"SHOAL_DATA_DIR="+i.DataDir, "SHOAL_RUN_DIR="+i.RunDir,
		"SHOAL_API_LISTEN="+i.API, "SHOAL_PROXY_LISTEN="+i.Proxy, "SHOAL_HEALTH_LISTEN="+i.Health,
		"SHOAL_NODE_LISTEN="+i.Node, "SHOAL_NODE_PROXY_LISTEN="+i.NodeProxy,
		fmt.Sprintf("SHOAL_HOST_CIDR=10.%d.0.0/16", subnet),
		fmt.Sprintf("SHOAL_VETH_CIDR=10.%d.0.0/16", subnet+1))
	i.Env = append(i.Env, env...)
	return i, nil
}

// makeDir creates a directory that sandbox kernels, which run as nobody, can enter.
func makeDir(parent, name string) (string, error) {
	dir, err := os.MkdirTemp(parent, "shoal-"+name+"-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	return dir, err
}

// Runnable returns why no installation can run here, or nil if one can.
func (i *Installation) Runnable() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("sandboxes need root")
	}
	_, err := os.Stat(i.Binary)
	return err
}

// subnets holds the names of the installations of this process by their subnets, and by the
// next ones up. Guests of two with the same addresses do not answer.
var subnets sync.Map

// Remove deletes the installation's files, and frees its subnet.
func (i *Installation) Remove() error {
	subnets.Delete(i.subnet)
	subnets.Delete(i.subnet + 1)
	return errors.Join(os.RemoveAll(i.Dir), os.RemoveAll(i.RunDir))
}

// addresses are so many that nobody else has, also while the installation is down or starting.
func addresses(n int) (list []string, err error) {
	for range n {
		port, err := freeport.Take()
		if err != nil {
			return nil, err
		}
		list = append(list, freeport.Address(port))
	}
	return list, nil
}

// PythonTests are arguments of Python that run tests of test/python, in that directory.
func PythonTests(tests ...string) []string {
	return append([]string{"-W", "ignore", "program.py", "-m", "unittest", "-v"}, tests...)
}

// Up starts `shoal up` and waits until it serves. If it fails, nothing is left running.
func (i *Installation) Up() (*Process, error) {
	p, err := i.Start("up")
	if err != nil {
		return nil, err
	}
	if err := p.AwaitLine(Ready, FirstStart); err != nil {
		_ = p.Stop(syscall.SIGTERM, 30*time.Second) // how it ended is no news
		return nil, errors.Join(err, i.Down())
	}
	return p, nil
}

// Down ends everything that the installation left running.
func (i *Installation) Down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := i.Run(ctx, "down"); err != nil {
		return fmt.Errorf("shoal down: %w\n%s", err, out)
	}
	return nil
}

// Start starts a command of the binary under test.
func (i *Installation) Start(args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(i.Binary, args...), out: newOutput(), done: make(chan struct{})}
	p.cmd.Env = i.Env
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// A process group of its own, so that an interrupt of the tests does not reach it
	// before they stop it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Guests print nothing to its output, so Wait must not wait for those that hold it open.
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

// Run runs a command to its end and returns its output.
func (i *Installation) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, i.Binary, args...)
	cmd.Env, cmd.WaitDelay = i.Env, time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// SDKEnv is the environment that a user exports, without any other E2B variables.
func (i *Installation) SDKEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "E2B_") {
			env = append(env, e)
		}
	}
	return append(env, "E2B_API_URL=http://"+i.API, "E2B_SANDBOX_URL=http://"+i.Proxy,
		"E2B_VOLUME_API_URL=http://"+i.API,
		"E2B_API_KEY="+shoal.DevAPIKey)
}

// Call makes an API request with the development key.
func (i *Installation) Call(ctx context.Context, method, path, body string) (int, []byte, error) {
	return i.CallWith(ctx, nil, method, path, body)
}

// CallWith is Call with further headers.
func (i *Installation) CallWith(
	ctx context.Context, headers map[string]string, method, path, body string,
) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+i.API+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-API-Key", shoal.DevAPIKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	return answer(req)
}

// Envd makes a request to a sandbox's daemon through the proxy, like an SDK.
func (i *Installation) Envd(ctx context.Context, sandboxID, token, method, path string,
	body io.Reader) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+i.Proxy+path, body)
	if err != nil {
		return 0, nil, err
	}
	identify(req, sandboxID, token)
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	return answer(req)
}

func answer(req *http.Request) (int, []byte, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}
