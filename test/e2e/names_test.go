package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

// These addresses are nobody's that anything here could reach.
const (
	namedAddress = "5.45.0.1"
	otherAddress = "5.45.0.2"
)

// newInternet makes an internet with names and two addresses.
func newInternet(t *testing.T) *installation.Internet {
	t.Helper()
	inet, err := installation.NewInternet("e2e", netip.MustParsePrefix("5.45.0.0/24"),
		[]string{namedAddress, otherAddress},
		map[string]string{"allowed.test.": namedAddress, "other.test.": otherAddress})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inet.Close(); err != nil {
			t.Error(err)
		}
	})
	return inet
}

// serveSlowly has both addresses say hello, and at /slow what the test sends, until it closes the
// channel.
func serveSlowly(t *testing.T, inet *installation.Internet) chan<- string {
	t.Helper()
	more := make(chan string)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello from", r.Host) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		for line := range more {
			fmt.Fprintln(w, line)
			_ = http.NewResponseController(w).Flush()
		}
	})
	for _, address := range []string{namedAddress, otherAddress} {
		l, err := inet.Listen(address + ":80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: mux}
		go func() { _ = server.Serve(l) }()
	}
	return more
}

// TestNames: what the SDK asks for by names holds in a real sandbox, and a connection of it goes
// on while Shoal is killed and started again.
func TestNames(t *testing.T) {
	inet := newInternet(t)
	more := serveSlowly(t, inet)
	speaker, err := inet.Listen(otherAddress + ":2222")
	if err != nil {
		t.Fatal(err)
	}
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
	r := another(t, "names", nil, "SHOAL_DNS="+inet.Resolver)
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
