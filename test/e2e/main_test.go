// Package e2e tests the real binary with real sandboxes and the real SDKs. It
// needs root and bin/shoal; `make test-e2e` provides both.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var (
	binary   string        // the shoal under test
	imageDir string        // base images, kept between runs
	server   *installation // runs `shoal up` during all tests
	up       *process
)

// firstStart bounds the first start, which builds the base template.
const firstStart = 5 * time.Minute

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	root, err := filepath.Abs("../..")
	if err != nil {
		return complain(err)
	}
	binary, imageDir = filepath.Join(root, "bin", "shoal"), filepath.Join(root, "bin", "test-images")
	if _, err := os.Stat(binary); err != nil || os.Geteuid() != 0 {
		fmt.Println("skipped: the end-to-end tests need root and bin/shoal; run `make test-e2e`")
		return 0
	}
	dir, err := os.MkdirTemp("", "shoal-e2e-")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // sandbox kernels run as nobody
		return complain(err)
	}
	before, err := readHost()
	if err != nil {
		return complain(err)
	}
	if server, err = newInstallation(dir); err != nil {
		return complain(err)
	}
	if err := startServer(); err != nil {
		return complain(err)
	}
	code := m.Run()
	if err := stopServer(); err != nil {
		code = complain(err)
	}
	if leaks := awaitQuiet(before); len(leaks) > 0 {
		for _, leak := range leaks {
			fmt.Println("LEAK", leak)
		}
		return 1
	}
	return code
}

func complain(err error) int {
	fmt.Println("end-to-end tests:", err)
	return 1
}

func startServer() (err error) {
	if up, err = server.shoal("up"); err != nil {
		return err
	}
	return up.awaitLine("export E2B_API_KEY", firstStart)
}

// stopServer ends the process and then, by `shoal down`, what it left running.
func stopServer() error {
	err := up.stop(syscall.SIGTERM, 30*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, downErr := server.run(ctx, "down")
	if err != nil {
		log, _ := up.out.state()
		return fmt.Errorf("shoal up did not end well: %w\n%s", err, tail(log))
	}
	if downErr != nil {
		return fmt.Errorf("shoal down: %w\n%s", downErr, out)
	}
	return nil
}

// awaitQuiet gives the kernel a moment to finish what it does after the last
// process is gone, then says what is still there.
func awaitQuiet(before hostState) []string {
	var leaks []string
	for range 50 {
		after, err := readHost()
		if err != nil {
			return []string{err.Error()}
		}
		if leaks = before.diff(after); len(leaks) == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return leaks
}
