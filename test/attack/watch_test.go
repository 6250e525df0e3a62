package attack

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Bounds of the process that runs Shoal, whatever is done to it.
const (
	maxResident    = 768 << 20 // bytes
	maxDescriptors = 20_000
)

// watch follows what Shoal's process uses.
type watch struct {
	resident, descriptors atomic.Int64 // the most so far
}

// watchServer follows Shoal's memory and descriptors until the end of the test, which fails
// beyond the bounds.
func watchServer(t *testing.T) *watch {
	t.Helper()
	w := &watch{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			w.look()
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if n := w.resident.Load(); n > maxResident {
			t.Errorf("Shoal's process had %d MiB of memory; the bound is %d", n>>20, maxResident>>20)
		}
		if n := w.descriptors.Load(); n > maxDescriptors {
			t.Errorf("Shoal's process had %d descriptors; the bound is %d", n, maxDescriptors)
		}
	})
	return w
}

func (w *watch) look() {
	resident, descriptors := serverUse()
	w.resident.Store(max(w.resident.Load(), resident))
	w.descriptors.Store(max(w.descriptors.Load(), descriptors))
}

// peak is the most memory that the process had, in bytes.
func (w *watch) peak() int64 { return w.resident.Load() }

// serverUse returns the process's resident memory in bytes, and its descriptors.
func serverUse() (resident, descriptors int64) {
	pid := up.PID()
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &resident); err == nil {
			break
		}
	}
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return resident << 10, int64(len(files))
}
