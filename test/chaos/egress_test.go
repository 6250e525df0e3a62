package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"

	"shoal/internal/egress"
	"shoal/test/installation"
)

// Some sandboxes may reach one name alone. The process that decides about that is killed, too, and
// they ask all the while for what they may not reach: nothing may ever get there.

// The servers of the internet behind the host.
const (
	allowedName    = "allowed.test"
	allowedAddress = "5.46.0.1"
	deniedAddress  = "5.46.0.2"
)

// onlyName is the policy of those sandboxes.
const onlyName = `"network":{"allowOut":["` + allowedName + `"],"denyOut":["0.0.0.0/0"]}`

// outside is that internet. What comes to the denied address is counted.
type outside struct {
	*installation.Internet
	denied, open atomic.Int64
}

// newOutside makes an internet for the tests, until they end.
func newOutside() (*outside, error) {
	inet, err := installation.NewInternet("chaos", netip.MustParsePrefix("5.46.0.0/24"),
		[]string{allowedAddress, deniedAddress}, map[string]string{allowedName + ".": allowedAddress})
	if err != nil {
		return nil, err
	}
	o := &outside{Internet: inet}
	for address, answer := range map[string]http.HandlerFunc{
		allowedAddress: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		deniedAddress: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/open" { // of a sandbox that may
				o.open.Add(1)
			} else {
				o.denied.Add(1)
			}
			fmt.Fprint(w, "hello")
		}} {
		var l net.Listener
		if l, err = inet.Listen(address + ":80"); err != nil {
			return nil, errors.Join(err, inet.Close())
		}
		go func() { _ = http.Serve(l, answer) }() // ends with the internet
	}
	return o, nil
}

// killEgress kills the egress processes that there are.
func (w *world) killEgress() {
	list, err := egress.Inspect(w.ctx, w.v.RunDir)
	if err != nil {
		w.fail("%v", err)
	}
	for _, p := range list {
		if p.Ended {
			continue
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			w.fail("kill the egress process: %v", err)
		}
		w.proxies++
	}
	w.lately = append(w.lately, fmt.Sprintf("%d egress processes killed", len(list)))
}

// shell runs a command line in a running sandbox. It returns what there is to say of a failure, too.
func (w *world) shell(id, line string) string {
	c := installation.Caller{SandboxID: id, Token: w.token(id), User: "user", Transport: http.DefaultTransport}
	ctx, cancel := context.WithTimeout(w.ctx, *patience)
	defer cancel()
	out, err := w.v.Shell(ctx, c, line)
	if err != nil {
		return strings.TrimSpace(out + " " + err.Error())
	}
	return strings.TrimSpace(out)
}

// badger has a sandbox ask for what it may not reach from now on, unless it does so already.
const badger = `[ -d /proc/$(cat /dev/shm/badger 2>/dev/null || echo none) ] || {
(while true; do curl -s -o /dev/null -m 2 http://` + deniedAddress + `/$$; sleep 0.5; done) </dev/null >/dev/null 2>&1 & echo $! > /dev/shm/badger; }; `

// reachesOnlyName checks that a running sandbox reaches what it may within a moment, and nothing
// else.
func (w *world) reachesOnlyName(sb *sandbox) {
	out := ""
	if !poll(func() bool {
		out = w.shell(sb.id, badger+"curl -s -m 5 http://"+allowedName+"/; echo; curl -s -m 2 http://"+deniedAddress+
			"/ && echo reached || echo blocked")
		return out == "hello\nblocked"
	}) {
		w.fail("%s may reach %s alone, and says %q", sb.id, allowedName, out)
	}
	if n := w.outside.denied.Load(); n > 0 {
		w.fail("%d requests got where no rule allows them", n)
	}
}

// reachesAll checks with a sandbox without rules that what the others are kept from is there.
func (w *world) reachesAll(sb *sandbox) {
	before := w.outside.open.Load()
	if out := w.shell(sb.id, "curl -s -m 10 http://"+deniedAddress+"/open"); out != "hello" || w.outside.open.Load() == before {
		w.fail("%s may reach everything, and says %q", sb.id, out)
	}
}
