package network

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/shoal"
)

func TestShouldClose(t *testing.T) {
	for _, c := range []struct {
		used, capacity uint64
		closed, want   bool
	}{
		{0, 0, false, false}, {0, 0, true, false}, // no table
		{74, 100, false, false}, {75, 100, false, true}, {99, 100, false, true},
		{74, 100, true, true}, {63, 100, true, true}, {62, 100, true, false}, {200, 100, true, true},
	} {
		if got := shouldClose(c.used, c.capacity, c.closed); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	// What comes between two looks at the table fits into the rest of it.
	for _, capacity := range []uint64{16384, 65536, 262144, 1 << 20} {
		rate, burst := flowRate(capacity)
		if between := uint64(burst) + uint64(float64(rate)*flowCheck.Seconds()); capacity*closeAt/8+between > capacity {
			t.Errorf("of %d entries, %d can come between two looks", capacity, between)
		}
	}
}

// TestFlowGuard: while the table is nearly full, guests open no connections and keep those
// that they have; the host still reaches them.
func TestFlowGuard(t *testing.T) {
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	c := w.talkTo(internetIP)
	if !arrives(c.far, c.guest, arrivalTime) {
		t.Fatal("the connection does not work to begin with")
	}
	settings := t.TempDir()
	table := func(used string) {
		w.must(os.WriteFile(filepath.Join(settings, "nf_conntrack_count"), []byte(used+"\n"), 0o600))
	}
	w.must(os.WriteFile(filepath.Join(settings, "nf_conntrack_max"), []byte("1000\n"), 0o600))
	guard := &flowGuard{host: w.pool.host, log: w.pool.log, settings: settings}
	table("800")
	w.must(guard.check(false))
	w.blocked("http://" + otherIP)
	if !arrives(c.guest, c.far, arrivalTime) || !arrives(c.far, c.guest, arrivalTime) {
		t.Error("an open connection has ended")
	}
	w.serveIn("t-guest", ":8080", "guest")
	if _, err := w.get("", "http://"+net.JoinHostPort(w.slot.HostIP().String(), "8080")); err != nil {
		t.Errorf("a visitor: %v", err)
	}
	w.must(w.pool.host.install(w.pool.ports())) // as after another program has flushed the rules
	w.must(guard.check(true))
	w.blocked("http://" + otherIP)
	table("100")
	w.must(guard.check(false))
	w.reaches("http://" + otherIP)
}
