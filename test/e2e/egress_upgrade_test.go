package e2e

import (
	"strings"
	"testing"
	"time"

	"shoal/internal/egress"
)

// flow is a download of a sandbox's by way of the egress process, while Shoal is upgraded.
type flow struct {
	b       *box
	sandbox created
	says    chan<- string // what the server sends next
	process int           // that the download goes through
}

// openFlow starts one in a sandbox that may reach allowed.test alone.
func (b *box) openFlow(t *testing.T, says chan<- string) *flow {
	t.Helper()
	f := &flow{b: b, says: says, sandbox: b.createWith(t, `{"templateID":"base","timeout":600,
		"network":{"allowOut":["allowed.test"],"denyOut":["0.0.0.0/0"]}}`)}
	if out, err := sh(t, f.sandbox, "(curl -sN http://allowed.test/slow; echo $?) > /tmp/got 2>&1 < /dev/null &"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	says <- "before"
	processes := b.egressProcesses(t)
	if len(processes) != 1 {
		t.Fatalf("processes %+v", processes)
	}
	f.process = processes[0].PID
	return f
}

func (b *box) egressProcesses(t *testing.T) []egress.Found {
	t.Helper()
	list, err := egress.Inspect(t.Context(), b.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// survives checks under the next release that the download goes on to its end through the process
// that it began with, which takes nothing else and ends then, and that new connections go through
// another one, by the rules from before.
func (f *flow) survives(t *testing.T) {
	t.Helper()
	f.says <- "under the next release"
	both := f.b.egressProcesses(t)
	if len(both) != 2 {
		t.Fatalf("processes %+v", both)
	}
	for _, p := range both {
		old := p.PID == f.process
		if p.Err != nil || p.Draining != old || p.Draining && p.Connections != 1 || !p.Draining && p.Sandboxes != 1 {
			t.Errorf("%+v, the first one was %d", p, f.process)
		}
	}
	const ask = "curl -s -m 10 http://allowed.test/; curl -s -m 3 http://other.test/ || echo blocked"
	if out, err := sh(t, f.sandbox, ask); err != nil || out != "hello from allowed.test\nblocked" {
		t.Errorf("new connections: %q %v", out, err)
	}
	close(f.says)
	eventually(t, 20*time.Second, "the download ends as a whole", func() bool {
		out, err := sh(t, f.sandbox, "cat /tmp/got")
		return err == nil && strings.Join(strings.Fields(out), " ") == "before under the next release 0"
	})
	eventually(t, 20*time.Second, "the first process ends with it", func() bool {
		left := f.b.egressProcesses(t)
		return len(left) == 1 && left[0].PID != f.process
	})
}
