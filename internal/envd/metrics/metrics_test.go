package metrics

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func proc(t *testing.T, files map[string]string) *Meter {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Meter{proc: dir, root: "/", previous: cpuTime{at: time.Now()}}
}

func TestMemory(t *testing.T) {
	m := proc(t, map[string]string{"meminfo": "MemTotal: 2048000 kB\nMemFree: 1024000 kB\n" +
		"Buffers: 1000 kB\nCached: 23000 kB\n\nodd\n"})
	r, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	if r.MemTotal != 2048000<<10 || r.MemUsed != 1000000<<10 || r.MemCache != 23000<<10 ||
		r.MemTotalMiB != 2000 || r.MemUsedMiB != 976 {
		t.Errorf("%+v", r)
	}
	if r.DiskTotal == 0 || r.DiskUsed == 0 || r.CPUCount < 1 {
		t.Errorf("%+v", r)
	}
	if _, err := proc(t, map[string]string{"meminfo": "nothing\n"}).Read(); err == nil {
		t.Error("no error without a total")
	}
}

func TestBusy(t *testing.T) {
	const self = "7 (a) b (c)) R 1 1 1 0 -1 0 0 0 0 0 10 20 30 40 20 0 1 0\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  time.Duration
	}{
		"system": {map[string]string{"stat": "cpu  100 10 50 9999 9999 5 5 30 70 70\ncpu0 1\n",
			"7/stat": self}, 2 * time.Second},
		"no times in stat": {map[string]string{"stat": "cpu  0 0 0 0 0 0 0 0 0 0\n", "7/stat": self,
			"8/stat": self}, 2 * time.Second},
		"no stat": {map[string]string{"7/stat": self}, time.Second},
		"a process that vanish": {map[string]string{"7/stat": "", "8/stat": self, "net/stat": self},
			time.Second},
	} {
		if got := proc(t, c.files).busy(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestCPUUsed(t *testing.T) {
	m := proc(t, map[string]string{"stat": "cpu  0 0 10000 0\n"})
	m.previous = cpuTime{at: time.Now().Add(-400 * time.Second)}
	if got := m.cpuUsed(2); got < 12 || got > 12.5 {
		t.Errorf("100 s on 2 CPUs in 400 s: %v%%", got)
	}
	if got := m.cpuUsed(2); got != leastCPU {
		t.Errorf("nothing since: %v%%", got)
	}
	m.previous = cpuTime{at: time.Now().Add(-time.Second)}
	if got := m.cpuUsed(1); got != 100 {
		t.Errorf("more than possible: %v%%", got)
	}
}
