// Package starts boots thousands of sandboxes beside template builds and a busy disk, and
// looks for one whose client saw a failure. It needs root and bin/shoal; `make test-starts`
// provides both.
package starts

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

const (
	repository = "../.."
	subnet     = 95 // of the guests' addresses, 10.95.0.0/16 and 10.96.0.0/16
)

var starts = flag.Int("starts", 5000, "sandboxes to boot")

var (
	server *installation.Installation
	up     *installation.Process
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

// testMain runs the tests against a Shoal that starts nothing ahead of demand.
func testMain(m *testing.M) (code int) {
	if err := installation.Sweep(repository, map[string]int{"starts": subnet}); err != nil {
		return complain(err)
	}
	before, err := installation.ReadHost()
	if err != nil {
		return complain(err)
	}
	server, err = installation.New(repository, "starts", subnet, "SHOAL_LOG_FORMAT=json",
		"SHOAL_WARM_MAX=0", "SHOAL_SHELLS=0", "SHOAL_REST_TIME=0", "SHOAL_SHIPPED_ON_USE=false",
		fmt.Sprintf("SHOAL_BUILD_SLOTS=%d", builders))
	if err != nil {
		return complain(err)
	}
	if up, err = server.Up(); err != nil {
		code = complain(err)
	} else {
		code = m.Run()
		err := up.Stop(syscall.SIGTERM, time.Minute)
		if err := errors.Join(err, server.Down()); err != nil {
			code = complain(err)
		}
	}
	if err := server.Remove(); err != nil {
		code = complain(err)
	}
	for _, leak := range before.AwaitQuiet() {
		code = complain(fmt.Errorf("LEAK %s", leak))
	}
	return code
}

func complain(err error) int {
	fmt.Println("starts:", err)
	return 1
}
