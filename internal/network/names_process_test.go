package network

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	n.policy(only("allowed.test", internetIP, otherIP))
	if plain.goesOn() == nil {
		t.Error("what was open before names were decided about goes on without the process")
	}
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

	n.stopSteward()
	n.process.Build = "next"
	next := n.newSteward()
	port, err := next.Open(context.Background(), n.pool.host.lead)
	n.must(err)
	n.must(n.pool.host.lead(port))
	defer func() { n.must(next.Teardown(context.Background())) }()
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
