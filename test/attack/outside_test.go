package attack

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fromOutside, in a process's environment, makes it one that floods the proxy with connections,
// as one on another machine would: what it does itself takes no processor from Shoal and the
// probe, because it runs where nobody else wants to.
const fromOutside = "ATTACK_OUTSIDE"

// stream is connections that are opened, and again when they are closed.
type stream struct {
	To        string        // the proxy by default
	Addresses int           // from so many, which are not the probe's
	Secure    bool          // with a whole TLS handshake
	Start     string        // is sent at once
	Pace      time.Duration // between bytes that are sent then; 0 sends none
}

// manyAtOnce is how many connections the floods from outside have open.
const manyAtOnce = 10_000

// flood runs the stream in a process of its own until ctx ends.
func (s stream) flood(ctx context.Context, t *testing.T) {
	s.To = cmp.Or(s.To, server.Proxy)
	how, err := json.Marshal(s)
	if err != nil {
		t.Error(err)
		return
	}
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fromOutside+"="+string(how))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); ctx.Err() == nil {
		t.Errorf("the flood ended early: %v %s", err, out)
	}
}

// beOutside is the main function of that process.
func beOutside(how string) error {
	var s stream
	if err := json.Unmarshal([]byte(how), &s); err != nil {
		return err
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, path := range threads { // those to come are like these
		tid, _ := strconv.Atoi(filepath.Base(path))
		idle := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
		if err := unix.SchedSetAttr(tid, idle, 0); err != nil {
			return fmt.Errorf("let others go first: %w", err)
		}
	}
	var connections sync.WaitGroup
	for n := range manyAtOnce {
		connections.Go(func() {
			for ; ; time.Sleep(500 * time.Millisecond) {
				s.connect(n % s.Addresses)
			}
		})
		if n%500 == 499 {
			time.Sleep(50 * time.Millisecond) // a burst of all of them would only fill the host's queues
		}
	}
	connections.Wait()
	return nil
}

// connect returns when the connection is closed.
func (s stream) connect(address int) {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+address))}}
	conn, err := from.Dial("tcp", s.To)
	if err != nil {
		return
	}
	defer conn.Close()
	if s.Secure {
		secure := tls.Client(conn, &tls.Config{ServerName: "api.sandbox.localhost", InsecureSkipVerify: true})
		if err := secure.Handshake(); err != nil {
			return
		}
		conn = secure
	}
	_, err = io.WriteString(conn, s.Start)
	for err == nil && s.Pace > 0 {
		time.Sleep(s.Pace)
		_, err = io.WriteString(conn, "x")
	}
	if err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}
