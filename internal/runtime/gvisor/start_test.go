package gvisor

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/gvisor/pin"
)

// TestKernelThatEnds: a kernel that is killed at its start is started once more. If that ends
// too, the error says how, and what it said last.
func TestKernelThatEnds(t *testing.T) {
	d := testDriver(t)
	var log bytes.Buffer
	d.log = slog.New(slog.NewTextHandler(&log, nil))
	killSleepers(t, d.cgroups, "ends")
	kernel, starts := frailKernel(t, "1")
	d.opts.Kernel = kernel
	spec := testSpec(t, "ends")
	spec.Kernel = "frail"
	g, err := d.create(t.Context(), spec)
	if err != nil {
		t.Fatalf("the second try: %v", err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	if n := starts(); n != 2 || !strings.Contains(log.String(), "ended by a signal: killed") {
		t.Errorf("%d starts; the log: %s", n, &log)
	}

	d.opts.Kernel, starts = frailKernel(t, "123")
	_, err = d.create(t.Context(), spec)
	if n := starts(); err == nil || n != 2 {
		t.Fatalf("%d starts, error %v", n, err)
	}
	if text := err.Error(); !strings.Contains(text, "it was ended by a signal: killed") ||
		!strings.HasSuffix(text, "its last words: this is start 2") {
		t.Errorf("the error: %s", text)
	}
	if ids, _ := d.cgroups.ids(); len(ids) != 0 {
		t.Errorf("cgroups are left: %v", ids)
	}
	if sockets, _ := filepath.Glob(filepath.Join(d.opts.RunDir, "*.sock")); len(sockets) != 0 {
		t.Errorf("sockets are left: %v", sockets)
	}
}

// frailKernel is this program as a kernel that is killed at its starts with the given
// numbers. starts says how often it was started.
func frailKernel(t *testing.T, killed string) (path string, starts func() int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "frail-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path, count, whole := filepath.Join(dir, "frail", "kernel"), filepath.Join(dir, "count"), filepath.Join(dir, "whole")
	script := fmt.Sprintf(`#!/bin/bash
echo -n x >> %[1]s
n=$(wc -c < %[1]s)
echo "this is start $n" >&2
case %[2]s in *$n*) exec sleep 77 ;; esac
exec -a %[3]s %[4]s "$@"
`, count, killed, pin.Argv0, whole)
	for file, data := range map[string][]byte{path: []byte(script), count: nil, whole: program} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, mode := range map[string]os.FileMode{dir: 0o755, count: 0o666} { // it runs as nobody
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	return path, func() int {
		data, err := os.ReadFile(count)
		if err != nil {
			t.Fatal(err)
		}
		return len(data)
	}
}

// killSleepers kills what waits to be killed, until the test ends. That is the first process
// of its namespace, which cannot kill itself. It finds it where the processors are divided
// among guests: starts may not take them from guests either.
func killSleepers(t *testing.T, groups cgroups, id string) {
	ctx, cancel := context.WithCancel(context.Background())
	var killer sync.WaitGroup
	killer.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			for _, pid := range processesIn(groups.cpuDir(id)) {
				if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); string(args) == "sleep\x0077\x00" {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() { cancel(); killer.Wait() })
}
