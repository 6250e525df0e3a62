package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// namedInternet is a namespace behind the host with public addresses, an HTTP server at the
// first, and a DNS server on this host that knows a name.
type namedInternet struct {
	t        *testing.T
	resolver string
}

// These addresses are nobody's that anything here could reach.
const (
	namedAddress = "5.45.0.1"
	otherAddress = "5.45.0.2"
)

func newNamedInternet(t *testing.T) *namedInternet {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", "e2e-names")
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "e2e-names").Run() })
	ip("link", "add", "e2e-n0", "type", "veth", "peer", "name", "eth0", "netns", "e2e-names")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "e2e-n0").Run() })
	ip("addr", "add", "5.45.0.254/24", "dev", "e2e-n0")
	ip("link", "set", "e2e-n0", "up")
	ip("-n", "e2e-names", "addr", "add", namedAddress+"/24", "dev", "eth0")
	ip("-n", "e2e-names", "addr", "add", otherAddress+"/24", "dev", "eth0")
	ip("-n", "e2e-names", "link", "set", "eth0", "up")
	n := &namedInternet{t: t}
	n.serveNames(map[string]string{"allowed.test.": namedAddress, "other.test.": otherAddress})
	return n
}

func (n *namedInternet) serveNames(names map[string]string) {
	n.t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.resolver = packets.LocalAddr().String()
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		address, known := names[strings.ToLower(q.Question[0].Name)]
		if !known {
			answer.SetRcode(q, dns.RcodeNameError)
		} else if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A " + address)
			answer.Answer = append(answer.Answer, rr)
		}
		_ = w.WriteMsg(answer)
	})}
	go func() { _ = server.ActivateAndServe() }()
	n.t.Cleanup(func() { _ = server.Shutdown() })
}

// listen opens an address of the internet's.
func (n *namedInternet) listen(address string) net.Listener {
	n.t.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	made := make(chan result, 1)
	go func() { // its thread goes with it
		runtime.LockOSThread()
		fd, err := unix.Open("/run/netns/e2e-names", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		var l net.Listener
		if err == nil {
			l, err = net.Listen("tcp4", address)
		}
		made <- result{l, err}
	}()
	r := <-made
	if r.err != nil {
		n.t.Fatal(r.err)
	}
	n.t.Cleanup(func() { r.l.Close() })
	return r.l
}

// TestNames: what the SDK asks for by names holds in a real sandbox, and a connection of it goes
// on while Shoal is killed and started again.
func TestNames(t *testing.T) {
	inet := newNamedInternet(t)
	more := make(chan string)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello from", r.Host) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		for line := range more {
			fmt.Fprintln(w, line)
			_ = http.NewResponseController(w).Flush()
		}
	})
	for _, address := range []string{namedAddress, otherAddress} {
		l := inet.listen(address + ":80")
		server := &http.Server{Handler: mux}
		go func() { _ = server.Serve(l) }()
	}
	speaker := inet.listen(otherAddress + ":2222")
	go func() {
		for {
			c, err := speaker.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0-test\r\n")
			c.Close()
		}
	}()
	r := another(t, "names", nil, "SHOAL_DNS="+inet.resolver)
	out := r.python(t, `
from e2b import CommandExitException, Sandbox
s = Sandbox.create(network={"allow_out": ["allowed.test"], "deny_out": ["0.0.0.0/0"]}, timeout=600)
def ask(what):
    try: return s.commands.run(what + " --connect-timeout 3 -m 5").stdout.strip()
    except CommandExitException as e: return f"exit {'not ' if e.exit_code else ''}0"
print(ask("curl -s http://allowed.test"))
print(ask("curl -s http://other.test"))
print(ask("curl -s http://`+otherAddress+`"))
print(ask("curl -s http://`+otherAddress+` -H 'Host: allowed.test'"))
print(ask("curl -s telnet://`+otherAddress+`:2222"))
s.update_network({"allow_out": ["allowed.test", "`+otherAddress+`"], "deny_out": ["0.0.0.0/0"]})
print(ask("curl -s http://other.test"))
print(ask("curl -s telnet://`+otherAddress+`:2222 < /dev/null"))
s.update_network({"allow_out": ["allowed.test"], "deny_out": ["0.0.0.0/0"]})
print(ask("curl -s http://other.test"))
s.commands.run("curl -sN http://allowed.test/slow > /tmp/got", background=True, timeout=0)
print(s.sandbox_id)
`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	want := []string{"hello from allowed.test", "exit not 0", "exit not 0", "hello from allowed.test", "exit not 0",
		"hello from other.test", "SSH-2.0-test", "exit not 0"}
	if len(lines) != len(want)+1 {
		t.Fatalf("%q", lines)
	}
	for i, line := range want {
		if lines[i] != line {
			t.Errorf("answer %d is %q, want %q", i, lines[i], line)
		}
	}
	id := lines[len(want)]
	more <- "before"
	r.stop(syscall.SIGKILL)
	more <- "while nobody is there"
	r.up()
	more <- "afterwards"
	close(more)
	out = r.python(t, `
import time
from e2b import CommandExitException, Sandbox
s = Sandbox.connect("`+id+`")
for _ in range(100):
    got = s.files.read("/tmp/got")
    if "afterwards" in got: break
    time.sleep(0.1)
print(got.split("\n"))
def ask(what):
    try: return s.commands.run(what + " --connect-timeout 3 -m 5").stdout.strip()
    except CommandExitException as e: return "blocked"
print(ask("curl -s http://allowed.test"), ask("curl -s http://other.test"))
s.pause()
s = Sandbox.connect(s.sandbox_id)
print(ask("curl -s http://allowed.test"), ask("curl -s http://other.test"))
`)
	for _, part := range []string{"'before', 'while nobody is there', 'afterwards'",
		"hello from allowed.test blocked\nhello from allowed.test blocked\n"} {
		if !strings.Contains(out, part) {
			t.Errorf("after a kill: %q, want %q", out, part)
		}
	}
	denied := `"outcome":"denied","port":80,"target":"other.test"`
	eventually(t, 20*time.Second, "denied connections are in the records", func() bool {
		status, body := r.call(t, "GET", "/sandboxes/"+id+"/egress", "")
		return status == 200 && strings.Contains(body, denied) && strings.Contains(body, `"target":"allowed.test"`)
	})
	if listed, err := r.Run(t.Context(), "connections", id); err != nil || !strings.Contains(listed, "denied") {
		t.Errorf("shoal connections: %v, %s", err, listed)
	}
}
