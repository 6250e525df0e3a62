// Package e2e tests the real binary with real sandboxes and the real SDKs. It
// needs root and bin/shoal; `make test-e2e` provides both.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"shoal/test/installation"
)

const repository = "../.."

var (
	server *box // runs `shoal up` during all tests
	up     *installation.Process
)

// box is an installation with methods for these tests.
type box struct{ *installation.Installation }

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (code int) {
	flag.Parse()
	if err := installation.Sweep(repository, map[string]int{"e2e": 61, "apart": 63, "upgrade": 65, "another": 67,
		"shipped": 69}); err != nil {
		return complain(err)
	}
	before, err := installation.ReadHost()
	if err != nil {
		return complain(err)
	}
	i, err := installation.New(repository, "e2e", 61, "SHOAL_LOG_FORMAT=text",
		// Settings for builds that an operator may make; TestImageLibrary checks them.
		"SHOAL_PACKAGE_MIRRORS=http://original.example/packages=http://mirror.example/packages",
		"SHOAL_BUILD_ENV=PIP_SHOAL_TEST=kept",
		// Webhooks of these tests are received on this machine.
		"SHOAL_WEBHOOK_ALLOW=127.0.0.0/8",
		// Templates that take minutes are built only by the tests that need them.
		"SHOAL_SHIPPED_ON_USE=false")
	if err != nil {
		return complain(err)
	}
	server = &box{i}
	if err := i.Runnable(); err != nil {
		fmt.Println("skipped; run `make test-e2e`:", err)
	} else if err := startServer(); err != nil {
		code = complain(err)
	} else {
		if err := shipped.start(); err != nil {
			code = complain(err)
		} else {
			code = m.Run()
		}
		if err := errors.Join(shipped.stop(), stopServer()); err != nil {
			code = complain(err)
		}
	}
	if err := i.Remove(); err != nil {
		code = complain(err)
	}
	for _, leak := range before.AwaitQuiet() {
		fmt.Println("LEAK", leak)
		code = 1
	}
	return code
}

func complain(err error) int {
	fmt.Println("end-to-end tests:", err)
	return 1
}

func startServer() (err error) {
	up, err = server.Up()
	return err
}

// stopServer ends all that runs, unless a test could not start it again.
func stopServer() error {
	if up == nil {
		return nil
	}
	return server.Stop(up, 30*time.Second)
}

// call makes an API request with the development key.
func (b *box) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	status, data, err := b.Call(context.Background(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, string(data)
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
