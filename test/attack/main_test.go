// Package attack attacks a running Shoal as hostile guests, tenants and registries would,
// and looks at what that does to others: the host, its network, and other sandboxes. It
// needs root and bin/shoal; `make test-attack` provides both.
//
// All of it runs in namespaces of its own (confinement_test.go), with a network that has
// every internal range and tells who was sent something there (traps_test.go).
package attack

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

const (
	repository = "../.."
	subnet     = 91 // of the guests' addresses, 10.91.0.0/16 and 10.92.0.0/16
	// domainListen is where the domain is served over TLS, in a network of the suite's own.
	domainListen = "127.0.0.1:8443"
)

var (
	long   = flag.Bool("long", false, "take the time to measure, and do what needs minutes")
	rounds = flag.Int("rounds", 20, "pauses, snapshots and forks of sandboxes in random states")
	seed   = flag.Uint64("seed", 0, "repeat a course; 0 chooses one")
)

var (
	server *installation.Installation
	up     *installation.Process
)

func TestMain(m *testing.M) {
	flag.Parse()
	if how := os.Getenv(fromOutside); how != "" {
		if err := beOutside(how); err != nil {
			os.Exit(complain(err))
		}
		return
	}
	if os.Getenv(confined) == "" {
		os.Exit(confine())
	}
	os.Exit(testMain(m))
}

// newServer plans the installation. Its settings open two destinations, by which the tests
// see that what does not arrive elsewhere could have.
func newServer(env ...string) (*installation.Installation, error) {
	return installation.New(repository, "attack", subnet, append([]string{"SHOAL_LOG_FORMAT=text",
		"SHOAL_TLS=local", "SHOAL_TLS_LISTEN=" + domainListen,
		"SHOAL_SHIPPED_ON_USE=false", "SHOAL_BUILD_SLOTS=6", "SHOAL_OUTBOUND_ALLOW=" + registryHost,
		"SHOAL_ALLOW_INTERNAL=" + openedRange}, env...)...)
}

func testMain(m *testing.M) int {
	if err := errors.Join(buildWorld(), serveNames(), serveWeb()); err != nil {
		return complain(err)
	}
	err := installation.Sweep(repository, map[string]int{"attack": subnet})
	if err != nil {
		return complain(err)
	}
	if server, err = newServer(); err != nil {
		return complain(err)
	}
	defer server.Remove()
	if err := setTraps(server); err != nil {
		return complain(err)
	}
	before, err := installation.ReadHost()
	if err != nil {
		return complain(err)
	}
	if up, err = server.Up(); err != nil {
		return complain(errors.Join(err, server.Down()))
	}
	endOnSignal()
	code := m.Run()
	if err := stop(); err != nil {
		code = complain(err)
	}
	for _, a := range arrivals() {
		code = complain(fmt.Errorf("ARRIVED %v", a))
	}
	if err := emptyTraps(); err != nil { // or they would be a change
		code = complain(err)
	}
	for _, leak := range before.AwaitQuiet() {
		code = complain(fmt.Errorf("LEAK %s", leak))
	}
	return code
}

// endOnSignal leaves nothing behind when the tests are told to end, or the process that has
// confined this one is gone.
func endOnSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		told := <-signals
		err := errors.Join(fmt.Errorf("ended by signal: %s", told), stop(), server.Remove())
		os.Exit(complain(err))
	}()
}

// stop stops the process and then, by `shoal down`, what it left running. It does so once:
// the end of the tests and a signal may come together.
var stop = sync.OnceValue(func() error { return server.Stop(up, time.Minute) })

func complain(err error) int {
	fmt.Println("attack:", err)
	return 1
}
