package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"shoal/internal/egress"
	"shoal/internal/shoal"
)

// chat is an open connection of the guest's to an echo server.
type chat struct {
	net.Conn
	r *bufio.Reader
}

// echo serves a port of the internet that sends back what it gets.
func (n *namedWorld) echo(address string) {
	n.t.Helper()
	n.listenIn("t-inet", address, func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	})
}

func (n *namedWorld) chat(address string) chat {
	n.t.Helper()
	c, err := n.dial(address)
	n.must(err)
	return chat{c, bufio.NewReader(c)}
}

// goesOn tells whether the connection passes bytes both ways.
func (c chat) goesOn() error {
	if _, err := fmt.Fprintln(c, "ping"); err != nil {
		return err
	}
	_, err := c.r.ReadString('\n')
	return err
}

// processes lists the egress processes by their numbers.
func (n *namedWorld) processes() (pids []int) {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.process.RunDir, "egress"))
	n.must(err)
	for _, e := range entries {
		if text, ok := strings.CutSuffix(e.Name(), ".sock"); ok {
			pid, err := strconv.Atoi(text)
			n.must(err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// halt stops a process, and returns when all of its threads stand still: until then it may answer.
func (n *namedWorld) halt(pid int) {
	n.t.Helper()
	n.must(unix.Kill(pid, unix.SIGSTOP))
	n.must(unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil))
}

func (n *namedWorld) eventually(what string, so func() bool) {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if so() {
			return
		}
	}
	n.t.Fatal("not so: " + what)
}

// TestPolicyEndsConnections: a new policy ends what it forbids, and leaves the rest.
func TestPolicyEndsConnections(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.echo(":2222")
	n.policy(shoal.Network{})
	plain := n.chat(internetIP + ":2222")
	n.must(plain.goesOn())
	inward := n.inward()
	n.must(inward.goesOn())
	n.policy(only("allowed.test", internetIP, otherIP))
	if plain.goesOn() == nil {
		t.Error("what was open before names were decided about goes on without the process")
	}
	n.must(inward.goesOn())
	one, other := n.chat(internetIP+":2222"), n.chat(otherIP+":2222")
	n.must(one.goesOn())
	n.must(other.goesOn())
	n.policy(only("allowed.test", internetIP))
	if err := one.goesOn(); err != nil {
		t.Errorf("an allowed connection: %v", err)
	}
	if other.goesOn() == nil {
		t.Error("a connection goes on that the new policy forbids")
	}
	n.policy(shoal.Network{})
	if err := one.goesOn(); err != nil {
		t.Errorf("an allowed connection, without rules about names: %v", err)
	}
	n.reaches("http://" + otherIP)
	n.policy(shoal.Network{DenyOut: []string{internetIP}})
	if one.goesOn() == nil {
		t.Error("a connection goes on that a policy without names forbids")
	}
}

// inward is a connection of the host's to an echo server in the guest.
func (n *namedWorld) inward() chat {
	n.t.Helper()
	n.listenIn("t-guest", ":7777", func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	})
	c, err := net.DialTimeout("tcp4", n.slot.HostIP().String()+":7777", 5*time.Second)
	n.must(err)
	n.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return chat{c, bufio.NewReader(c)}
}

// TestFirstNamesEndConnections: what was open before the first rule about names ends on both sides,
// also where the new rules allow the address: nobody has read whom the client asked for. Nothing of
// what the server says afterwards reaches the guest.
func TestFirstNamesEndConnections(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	accepted := make(chan net.Conn, 2)
	n.listenIn("t-inet", ":2223", func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	})
	n.policy(shoal.Network{})
	for _, allowed := range []string{internetIP, otherIP} {
		guest := n.chat(internetIP + ":2223")
		server := <-accepted
		defer server.Close()
		fmt.Fprintln(server, "before")
		if line, err := guest.r.ReadString('\n'); err != nil || line != "before\n" {
			t.Fatalf("%q %v", line, err)
		}
		n.policy(only("allowed.test", allowed))
		n.eventually("the server learns that the connection has ended", func() bool {
			_, err := fmt.Fprintln(server, "afterwards")
			return err != nil
		})
		_ = guest.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintln(guest, "anybody there?")
		if line, err := guest.r.ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with %s allowed the guest has read %q, %v", allowed, line, err)
		}
		n.policy(shoal.Network{})
	}
}

// TestProcessEnds: without the process nothing passes, and another is there soon.
func TestProcessEnds(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.echo(":2222")
	n.policy(only("allowed.test", internetIP))
	c := n.chat(internetIP + ":2222")
	n.must(c.goesOn())
	before := n.processes()
	n.must(unix.Kill(before[0], unix.SIGKILL))
	if c.goesOn() == nil {
		t.Error("a connection goes on without the process")
	}
	n.eventually("another process serves", func() bool {
		_, err := n.http(otherIP+":80", "allowed.test")
		if _, wrong := n.http(otherIP+":80", "evil.test"); wrong == nil {
			t.Error("what is not allowed passed")
		}
		return err == nil
	})
	n.eventually("the files of the one before are removed", func() bool { return len(n.processes()) == 1 })
}

// TestProcessHangs: a process that is there and does not answer is replaced, and who sets a policy
// meanwhile waits for that.
func TestProcessHangs(t *testing.T) {
	n := newImpatientWorld(t, 3*time.Second)
	n.zone.set("allowed.test", internetIP)
	n.echo(":2222")
	n.policy(only("allowed.test", internetIP, otherIP))
	c := n.chat(internetIP + ":2222")
	n.must(c.goesOn())
	before := n.processes()
	n.halt(before[0])
	n.policy(only("allowed.test", internetIP))
	if got := n.processes(); len(got) != 1 || got[0] == before[0] {
		t.Errorf("processes %v, before %v", got, before)
	}
	if c.goesOn() == nil {
		t.Error("a connection goes on without its process")
	}
	if _, err := n.http(otherIP+":80", "allowed.test"); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	if _, err := n.http(otherIP+":80", "evil.test"); err == nil {
		t.Error("what the policy that was set meanwhile denies passed")
	}
	n.eventually("the host's kernel has forgotten the process that hung", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", before[0]))
		return errors.Is(err, os.ErrNotExist)
	})
	if hung := n.counted("shoal_egress_process_losses_total", "hung"); hung != 1 {
		t.Errorf("%v processes were counted as hung", hung)
	}
}

// upgrade has a steward of another version take over, until the test ends.
func (n *namedWorld) upgrade() *egress.Steward {
	n.t.Helper()
	n.stopSteward()
	n.process.Build = "next"
	next := n.newSteward()
	port, err := next.Open(context.Background(), n.pool.host.lead)
	n.must(err)
	n.must(n.pool.host.lead(port))
	n.t.Cleanup(func() { n.must(next.Teardown(context.Background())) })
	return next
}

// TestDrainingProcessHangs: one of an earlier version that hangs keeps nobody from setting policies.
func TestDrainingProcessHangs(t *testing.T) {
	n := newImpatientWorld(t, 3*time.Second)
	n.echo(":2222")
	n.policy(only("allowed.test", internetIP))
	c := n.chat(internetIP + ":2222")
	n.must(c.goesOn())
	old := n.processes()
	next := n.upgrade()
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- next.Run(ctx) }()
	defer func() {
		stop()
		n.must(<-ran)
	}()
	n.halt(old[0])
	n.eventually("the process that hangs is ended", func() bool { return len(n.processes()) == 1 })
	if c.goesOn() == nil {
		t.Error("a connection goes on without its process")
	}
}

// counted is a counter of the steward's, by its one label.
func (n *namedWorld) counted(name, label string) float64 {
	n.t.Helper()
	registry := prometheus.NewRegistry()
	for _, c := range n.steward.Meters() {
		n.must(registry.Register(c))
	}
	families, err := registry.Gather()
	n.must(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	n.t.Fatalf("%s has no %q", name, label)
	return 0
}

// TestMeters: the operator learns what became of connections and what they carried, also while
// they are open.
func TestMeters(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.echo(":2222")
	n.policy(only("allowed.test", "missing.test", internetIP))
	c := n.chat(internetIP + ":2222")
	const size = 1 << 20
	go func() { _, _ = c.Write(make([]byte, size)) }()
	if _, err := io.ReadFull(c.r, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.http(otherIP+":80", "allowed.test"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if _, err := n.http(otherIP+":80", "evil.test"); err == nil {
			t.Error("what is denied passed")
		}
	}
	if _, err := n.http(otherIP+":80", "missing.test"); err == nil {
		t.Error("a name that nobody knows led somewhere")
	}
	n.eventually("the connections that have ended are not open", func() bool { // which the process hears by itself
		n.steward.Collect(t.Context())
		return n.counted("shoal_egress_open_connections", "") <= 1
	})
	for _, want := range []struct {
		name, label string
		least, most float64
	}{
		{"shoal_egress_connections_total", "allowed", 2, 2}, {"shoal_egress_connections_total", "denied", 2, 2},
		{"shoal_egress_connections_total", "unresolved", 1, 1}, {"shoal_egress_connections_total", "failed", 0, 0},
		{"shoal_egress_bytes_total", "sent", size, size + 1000},
		{"shoal_egress_bytes_total", "received", size, size + 2000},
		{"shoal_egress_open_connections", "", 1, 1}, {"shoal_egress_sandboxes", "", 1, 1},
		{"shoal_egress_processes", "serving", 1, 1}, {"shoal_egress_processes", "silent", 0, 0},
		{"shoal_egress_process_losses_total", "ended", 0, 0},
	} {
		if got := n.counted(want.name, want.label); got < want.least || got > want.most {
			t.Errorf("%s %s is %v, want %v to %v", want.name, want.label, got, want.least, want.most)
		}
	}
}

// TestUpgrade: a process of another version takes what is new, while the one before keeps its
// connections and ends with the last.
func TestUpgrade(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.echo(":2222")
	n.policy(only("allowed.test", internetIP))
	c := n.chat(internetIP + ":2222")
	n.must(c.goesOn())
	old := n.processes()

	n.upgrade()
	if got := n.processes(); len(got) != 2 {
		t.Fatalf("processes %v, before %v", got, old)
	}
	if err := c.goesOn(); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
	if _, err := n.http(otherIP+":80", "allowed.test"); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	if _, err := n.http(otherIP+":80", "evil.test"); err == nil {
		t.Error("the policy from before does not hold")
	}
	c.Close()
	n.eventually("the process from before ends", func() bool {
		got := n.processes()
		return len(got) == 1 && got[0] != old[0]
	})
}

// TestNobodyElse: the process takes connections of slots alone whose rules are about names.
func TestNobodyElse(t *testing.T) {
	n := newNamedWorld(t)
	n.policy(only("*"))
	port := n.pool.host.names.port
	other := n.acquire()
	n.attach(other, "t-guest2")
	n.must(other.SetEgress(t.Context(), Egress{}))
	for _, from := range []string{"", "t-guest", "t-guest2", "t-inet"} {
		for _, ip := range []string{"198.51.100.254", "127.0.0.1", n.slot.plan.vethHost(n.slot.index).String(),
			n.slot.plan.vethHost(other.index).String()} {
			if body, err := n.getWithin(700*time.Millisecond, from, fmt.Sprintf("http://%s:%d", ip, port)); err == nil {
				t.Errorf("from %q at %s: %q", from, ip, body)
			}
		}
	}
	if body, err := n.get("t-guest2", "http://"+internetIP); err != nil {
		t.Errorf("another slot: %q %v", body, err)
	}
	n.pool.Release(other)
}
