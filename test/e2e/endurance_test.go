package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestCycles creates and kills sandboxes. It compares Shoal's memory at the
// beginning, when all pools and caches are in use, with that at the end.
func TestCycles(t *testing.T) {
	const warmUp, cycles, atOnce = 200, 400, 4
	// A collected heap may grow to twice its size again, hence the slack. A leak of one
	// goroutine with its connection per cycle would exceed it by far.
	const bound = 6 << 20
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
	before := residentMemory(t, up.PID())
	cycle(cycles)
	after := residentMemory(t, up.PID())
	// Garbage remains until the collector runs, which it does at least every two minutes.
	for end := time.Now().Add(3 * time.Minute); after > before+bound &&
		time.Now().Before(end); time.Sleep(time.Second) {
		after = residentMemory(t, up.PID())
	}
	t.Logf("%d MB before and %d MB after %d cycles", before>>20, after>>20, cycles)
	if after > before+bound {
		t.Errorf("grew by %d MB", (after-before)>>20)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", up.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > 300 {
		t.Errorf("%d open files", len(files))
	}
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
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
