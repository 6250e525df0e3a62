package fleet

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// stand is how a feature stands in a store that may be away.
type stand struct {
	mu  sync.Mutex
	now shoal.Standing
	err error
}

func (s *stand) set(now shoal.Standing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.err = now, err
}

func (s *stand) read(context.Context) (shoal.Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.err
}

// TestTellSwitch: machines are told at once, what changes within two seconds, what does not every
// twenty, and those that could not be are tried again. Trouble is logged once.
func TestTellSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		one, two := fleettest.New("n1"), fleettest.New("n2")
		f := New(Config{Nodes: []shoal.Node{one, two}}, slog.New(slog.NewTextHandler(&said, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		store, ended := &stand{}, make(chan error, 1)
		go func() { ended <- f.TellSwitch(ctx, shoal.SwitchSignedURLs, store.read) }()
		hears := func(when string, n *fleettest.Node, want ...shoal.Standing) {
			t.Helper()
			synctest.Wait()
			for _, standing := range want {
				select {
				case got := <-n.Switched():
					if !got.Equal(standing) {
						t.Errorf("%s: %+v", when, got)
					}
				default:
					t.Errorf("%s: nothing is told", when)
				}
			}
			if len(n.Switched()) > 0 {
				t.Errorf("%s: %+v is told too", when, <-n.Switched())
			}
		}
		on, off := shoal.Standing{}, shoal.Standing{Off: true, Others: []string{"t"}}
		hears("at the start", one, on)
		hears("at the start", two, on)
		store.set(off, nil)
		time.Sleep(switchPeriod)
		hears("after a change", one, off)
		hears("after a change", two, off)
		time.Sleep(switchRepeat - switchPeriod)
		hears("before the repetition", one)
		time.Sleep(switchPeriod)
		hears("at the repetition", one, off)
		hears("at the repetition", two, off)

		two.SetDown(errors.New("it is away"))
		store.set(on, nil)
		time.Sleep(2 * switchPeriod)
		hears("beside one that is away", one, on, on)
		two.SetDown(nil)
		time.Sleep(switchPeriod)
		hears("once more", one, on)
		hears("after it came back", two, on)
		store.set(off, errors.New("the store is away"))
		time.Sleep(2 * switchRepeat)
		hears("without the store", one)
		store.set(off, nil)
		time.Sleep(switchPeriod)
		hears("with the store", two, off)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if lines := strings.Count(said.String(), "\n"); lines != 2 || !strings.Contains(said.String(), "signed-urls") {
			t.Errorf("logged:\n%s", &said)
		}
	})
}
