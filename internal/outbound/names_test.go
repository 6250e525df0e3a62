package outbound

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// namesWorld is a server on loopback and a resolver whose answer is for a test to choose.
type namesWorld struct {
	t       *testing.T
	answer  atomic.Pointer[string] // addresses, with spaces between
	lookups atomic.Int32
	port    string
	dialer  *Dialer
}

func newNamesWorld(t *testing.T, keep time.Duration) *namesWorld {
	listener, err := net.Listen("tcp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	w := &namesWorld{t: t}
	w.resolvesTo("127.0.0.2")
	resolver := resolverOf(t, func(string) []string {
		w.lookups.Add(1)
		return strings.Fields(*w.answer.Load())
	})
	_, w.port, _ = net.SplitHostPort(listener.Addr().String())
	w.dialer, err = NewDialer(Config{Resolver: resolver, KeepNames: keep, Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *namesWorld) resolvesTo(addresses string) { w.answer.Store(&addresses) }

func (w *namesWorld) dial(name string) error {
	c, err := w.dialer.DialContext(w.t.Context(), "tcp4", net.JoinHostPort(name, w.port))
	if err == nil {
		c.Close()
	}
	return err
}

func (w *namesWorld) wantsLookups(what string, n int32) {
	w.t.Helper()
	if got := w.lookups.Load(); got != n {
		w.t.Errorf("%s: %d lookups, not %d", what, got, n)
	}
}

// TestKeptNames: a name is looked up once while its addresses are kept, and anew when they fail.
func TestKeptNames(t *testing.T) {
	w := newNamesWorld(t, time.Hour)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := w.dial("one.example"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.wantsLookups("at once", 1)
	w.resolvesTo("127.0.0.3 127.0.0.2") // nothing listens at the first one
	if err := w.dial("two.example"); err != nil {
		t.Errorf("the second of two addresses: %v", err)
	}
	w.wantsLookups("another name", 2)

	w.resolvesTo("127.0.0.3")
	if err := w.dial("three.example"); err == nil {
		t.Error("an address without a server was reached")
	}
	w.wantsLookups("an address that was not kept, which fails", 3)
	if err := w.dial("one.example"); err != nil {
		t.Errorf("a kept address: %v", err)
	}
	w.wantsLookups("a kept address", 3)
}

// TestKeptNamesFail: what is kept does not outlive its server.
func TestKeptNamesFail(t *testing.T) {
	w := newNamesWorld(t, time.Hour)
	w.resolvesTo("127.0.0.3")
	moved, err := net.Listen("tcp4", "127.0.0.3:"+w.port)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.dial("one.example"); err != nil {
		t.Fatal(err)
	}
	moved.Close()
	w.resolvesTo("127.0.0.2")
	if err := w.dial("one.example"); err != nil {
		t.Errorf("a server that has moved: %v", err)
	}
	w.wantsLookups("a server that has moved", 2)
}

// TestKeptNamesEnd: the time of what is kept ends, and no address is kept that may not be dialed.
func TestKeptNamesEnd(t *testing.T) {
	w := newNamesWorld(t, time.Nanosecond)
	for range 3 {
		if err := w.dial("one.example"); err != nil {
			t.Fatal(err)
		}
	}
	w.wantsLookups("after its time", 3)
	w = newNamesWorld(t, time.Hour)
	w.resolvesTo("10.0.0.1")
	for range 2 {
		if err := w.dial("internal.example"); !shoal.ErrOutboundRefused.Matches(err) {
			t.Errorf("an internal address: %v", err)
		}
	}
}
