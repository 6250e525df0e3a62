// Package microvm starts a whole Shoal that runs guests as microVMs, on a machine that is emulated
// (test/lab), and drives it as people do: by the official Python SDK and by the command line.
// `scripts/test microvm` provides the machine and what these tests need on it.
package microvm

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

const repository = "../.."

// The addresses behind the host, with a server each.
const (
	openAddress   = "5.48.0.1"
	deniedAddress = "5.48.0.2"
)

var (
	server *installation.Installation
	up     *installation.Process // runs `shoal up`; nil while none runs
	before installation.Host     // as it was before anything ran
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	flag.Parse()
	if os.Getenv("SHOAL_TEST_LAB") == "" || os.Getenv("FIRECRACKER_BIN") == "" {
		fmt.Println("skipped; run `FIRECRACKER_BIN=… scripts/test microvm`")
		return 0
	}
	inet, err := newInternet()
	if err != nil {
		return complain(err)
	}
	defer inet.Close()
	server, err = installation.New(repository, "mvm", 71, "SHOAL_LOG_FORMAT=text", "SHOAL_RUNTIMES=firecracker",
		"SHOAL_FIRECRACKER_DIR="+os.Getenv("SHOAL_TEST_FIRECRACKER"), "SHOAL_SANDBOX_DISK=1024",
		"SHOAL_DNS="+inet.Resolver, "SHOAL_SHIPPED_ON_USE=false",
		// One processor does everything: nothing is started that nobody has asked for.
		"SHOAL_WARM_MAX=0", "SHOAL_SHELLS=0", "SHOAL_REST_TIME=0", "SHOAL_ENVD_TIMEOUT=5m")
	if err == nil {
		err = errors.Join(server.Runnable(), server.Down()) // which makes the locks that stay
	}
	if err != nil {
		return complain(err)
	}
	if before, err = readHost(); err != nil {
		return complain(err)
	}
	code := m.Run()
	if err := errors.Join(stop(), server.Down()); err != nil {
		code = complain(err)
	}
	for _, path := range filesOfGuests() {
		code = complain(fmt.Errorf("a guest has left %s", path))
	}
	for _, leak := range awaitQuiet() {
		code = complain(errors.New("LEAK " + leak))
	}
	if err := server.Remove(); err != nil {
		code = complain(err)
	}
	return code
}

func complain(err error) int {
	fmt.Println("microVMs:", err)
	return 1
}

func newInternet() (*installation.Internet, error) {
	inet, err := installation.NewInternet("mvm", netip.MustParsePrefix("5.48.0.0/24"), []string{openAddress, deniedAddress}, nil)
	if err != nil {
		return nil, err
	}
	for _, address := range []string{openAddress, deniedAddress} {
		l, err := inet.Listen(address + ":80")
		if err != nil {
			return nil, errors.Join(err, inet.Close())
		}
		go func() { // ends with the internet
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "reached ", address) }))
		}()
	}
	return inet, nil
}

// start starts `shoal up` unless it runs.
func start(t *testing.T) {
	t.Helper()
	if up != nil {
		return
	}
	if out, err := server.Run(t.Context(), "firecracker", "import", os.Getenv("FIRECRACKER_BIN")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p, err := server.Up()
	if err != nil {
		t.Fatal(err)
	}
	up = p
	makeDisk(t)
	t.Cleanup(func() {
		if t.Failed() && up != nil {
			t.Logf("the log of Shoal ends with:\n%s", up.Tail())
		}
	})
}

// makeDisk has the disk made that sandboxes begin with. On emulated processors that takes longer than a request
// may, and goes on when the request is over.
func makeDisk(t *testing.T) {
	t.Helper()
	const tries = 10
	if disks(t) != nil {
		return
	}
	var status int
	var answer []byte
	for range tries {
		var err error
		status, answer, err = server.Call(t.Context(), http.MethodPost, "/v2/sandboxes", `{"templateID":"base","timeout":600}`)
		if err != nil {
			t.Fatal(err)
		}
		var made struct{ SandboxID string }
		if status != http.StatusCreated || json.Unmarshal(answer, &made) != nil {
			continue
		}
		if _, _, err = server.Call(t.Context(), http.MethodDelete, "/sandboxes/"+made.SandboxID, ""); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no sandbox is made: %d %s", status, answer)
}

// disks are those that sandboxes have begun with.
func disks(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(server.DataDir, "microvm-disks", "*.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// stop ends `shoal up` as an operator does, and all its guests.
func stop() error {
	if up == nil {
		return nil
	}
	err := up.Stop(syscall.SIGTERM, time.Minute)
	up = nil
	return err
}

// python runs tests by Python with the environment that a user exports, and shows at once what it says: on emulated
// processors that may take its time.
func python(t *testing.T, env []string, tests ...string) {
	t.Helper()
	cmd := exec.Command("python3", installation.PythonTests(tests...)...)
	cmd.Dir, cmd.WaitDelay = filepath.Join(repository, "test", "python"), 5*time.Second
	cmd.Env = append(append(server.SDKEnv(), env...), "OPEN="+openAddress, "DENIED="+deniedAddress)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	if err := cmd.Run(); err != nil {
		t.Errorf("python3 %s: %v", strings.Join(tests, " "), err)
	}
}

// shoalWith runs a command of Shoal with other settings besides those of the installation.
func shoalWith(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	i := *server
	i.Env = append(slices.Clip(i.Env), env...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	return i.Run(ctx, args...)
}

// readHost is installation.ReadHost with what microVMs have besides.
func readHost() (installation.Host, error) {
	host, err := installation.ReadHost()
	if err != nil {
		return nil, err
	}
	host["microVMs"] = commands("firecracker", "jailer", "attendant")
	host["attached disks"], _ = filepath.Glob("/sys/block/nbd*/pid")
	groups, err := os.ReadDir("/sys/fs/cgroup")
	for _, g := range groups {
		if g.IsDir() {
			host["cgroups"] = append(host["cgroups"], g.Name())
		}
	}
	return host, err
}

// awaitQuiet waits a moment for the kernel to finish, and lists what is left.
func awaitQuiet() (leaks []string) {
	for range 50 {
		after, err := readHost()
		if err != nil {
			return []string{err.Error()}
		}
		if leaks = before.Diff(after); len(leaks) == 0 {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return leaks
}

// commands lists the processes of programs.
func commands(names ...string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		data, _ := os.ReadFile(file)
		args := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
		if slices.Contains(names, filepath.Base(args[0])) || len(args) > 1 && slices.Contains(names, args[1]) {
			found = append(found, strings.Join(args, " "))
		}
	}
	return found
}

// filesOfGuests lists what microVMs have in the run directory, but for locks.
func filesOfGuests() (found []string) {
	_ = filepath.WalkDir(filepath.Join(server.RunDir, "firecracker"), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.HasSuffix(e.Name(), "lock") {
			found = append(found, path)
		}
		return nil
	})
	return found
}
