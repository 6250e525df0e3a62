package network

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"shoal/internal/shoal"
)

// TestForwardingOfSeveral: what the host had before the first of several installations comes
// back with the end of the last, whichever that is.
func TestForwardingOfSeveral(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	was, err := os.ReadFile(forwardSetting)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(forwardSetting, was, 0); err != nil {
			t.Error(err)
		}
	})
	state := filepath.Join(t.TempDir(), "host.json")
	open := func(name, host, veth string) *Pool {
		pool, err := NewPool(Config{Name: name, HostCIDR: netip.MustParsePrefix(host),
			VethCIDR: netip.MustParsePrefix(veth), StateFile: state}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	expect := func(when, want string) {
		t.Helper()
		if got, err := os.ReadFile(forwardSetting); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s forwarding is %q, %v", when, got, err)
		}
	}
	for _, firstEndsFirst := range []bool{true, false} {
		if err := os.WriteFile(forwardSetting, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		pools := []*Pool{open("t", "10.71.0.0/16", "10.72.0.0/16"), open("t2", "10.73.0.0/16", "10.74.0.0/16")}
		if !firstEndsFirst {
			slices.Reverse(pools)
		}
		expect("with two", "1")
		for n, want := range []string{"1", "0"} {
			if err := pools[n].Teardown(); err != nil {
				t.Error(err)
			}
			expect(fmt.Sprintf("after the end of %d", n+1), want)
		}
		if _, err := os.Stat(state); err == nil {
			t.Error("the settings of before are still kept")
		}
	}
}

// TestForwardingAtOnce: so it is if installations begin and end at the same time.
func TestForwardingAtOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	was, err := os.ReadFile(forwardSetting)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(forwardSetting, was, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(forwardSetting, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var all sync.WaitGroup
	for _, name := range []string{"t", "t2", "t3"} {
		all.Go(func() {
			pl, err := newPlan(name, netip.MustParsePrefix("10.71.0.0/16"), netip.MustParsePrefix("10.72.0.0/16"))
			if err != nil {
				t.Error(err)
				return
			}
			h := &host{plan: pl, state: filepath.Join(dir, "host.json")}
			for range 100 {
				if err := errors.Join(h.install(ports{1, 2, 3}), h.remove()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got, err := os.ReadFile(forwardSetting); err != nil || strings.TrimSpace(string(got)) != "0" {
		t.Errorf("forwarding is %q, %v", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestDamagedState: the error about a damaged file names it and says what to do.
func TestDamagedState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "network.json")
	if err := os.WriteFile(file, []byte(`{"ipForward":`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readState(file)
	if !shoal.ErrNetworkState.Matches(err) || !strings.Contains(err.Error(), file) {
		t.Errorf("a damaged file: %v", err)
	}
	if err := os.WriteFile(file, []byte(`{"ipForward":"1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if saved, err := readState(file); err != nil || saved.Forward != "1" {
		t.Errorf("%+v %v", saved, err)
	}
}
