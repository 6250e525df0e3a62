package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/endpoint"
)

// TestCycles creates and kills sandboxes. It compares what Shoal holds at the beginning, when all
// pools and caches are in use, with that at the end. SHOAL_TEST_CYCLES asks for more of them.
func TestCycles(t *testing.T) {
	const warmUp, atOnce = 60, 4
	cycles := 100
	if asked := os.Getenv("SHOAL_TEST_CYCLES"); asked != "" {
		var err error
		if cycles, err = strconv.Atoi(asked); err != nil {
			t.Fatal(err)
		}
	}
	cycle := func(n int) {
		t.Helper()
		var g errgroup.Group
		g.SetLimit(atOnce)
		for range n {
			g.Go(func() error { return createAndKill(t.Context()) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	cycle(warmUp)
	before := holdings(t)
	cycle(cycles)
	after := holdings(t)
	// What the last cycles have used goes within seconds, and pages a little later.
	for end := time.Now().Add(time.Minute); after.exceed(before) && time.Now().Before(end); time.Sleep(time.Second) {
		after = holdings(t)
	}
	t.Logf("before %d cycles: %v; after: %v", cycles, before, after)
	if after.exceed(before) {
		t.Errorf("%d cycles left something behind: %v became %v", cycles, before, after)
	}
	if after.files > 300 {
		t.Errorf("%d open files", after.files)
	}
}

// held is what the process of `shoal up` has: goroutines, bytes in use on the heap after a
// collection, bytes of memory, and open files.
type held struct{ goroutines, heap, resident, files int }

func (h held) String() string {
	return fmt.Sprintf("%d goroutines, %d kB on the heap, %d MB in memory, %d files", h.goroutines, h.heap>>10,
		h.resident>>20, h.files)
}

// exceed tells whether something of each of 100 cycles stayed: a goroutine of one in four, 20 kB on the
// heap, 60 kB elsewhere, or a file of one in four.
func (h held) exceed(before held) bool {
	return h.goroutines > before.goroutines+25 || h.heap > before.heap+2<<20 ||
		h.resident > before.resident+6<<20 || h.files > before.files+25
}

// holdings asks the process for its profiles, as its operator may.
func holdings(t *testing.T) held {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", up.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return held{heap: profiled(t, "heap?gc=1&debug=1", "# HeapAlloc = %d"), files: len(files),
		goroutines: profiled(t, "goroutine?debug=1", "goroutine profile: total %d"), resident: residentMemory(t, up.PID())}
}

// profiled is the number in a line of a profile.
func profiled(t *testing.T, profile, format string) int {
	t.Helper()
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", endpoint.OperatorSocket(server.RunDir, "up"))
		}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shoal/debug/pprof/"+profile, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var number int
		if n, _ := fmt.Sscanf(lines.Text(), format, &number); n == 1 {
			return number
		}
	}
	t.Fatalf("no %q in the profile %s", format, profile)
	return 0
}

func createAndKill(ctx context.Context) error {
	status, body, err := server.Call(ctx, "POST", "/v2/sandboxes", `{"templateID":"base","timeout":300}`)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if status != 201 {
		return fmt.Errorf("create: %d %s", status, body)
	}
	var c created
	if err := json.Unmarshal(body, &c); err != nil {
		return err
	}
	status, body, err = server.Call(ctx, "DELETE", "/sandboxes/"+c.SandboxID, "")
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if status != 204 {
		return fmt.Errorf("kill: %d %s", status, body)
	}
	return nil
}

// residentMemory is a process's resident set, in bytes.
func residentMemory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
