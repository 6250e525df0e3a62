package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// TestTierCommands: what an operator types from a new tier to its end.
func TestTierCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	limits := func(line string) (held heldLimits) {
		t.Helper()
		if err := json.Unmarshal([]byte(must("team limits acme --json "+line)), &held); err != nil {
			t.Fatal(err)
		}
		return held
	}
	wants := func(held heldLimits, tier string, cpu, storage int64, own ...string) {
		t.Helper()
		if held.Tier != tier || held.Limits["max-cpu"] != cpu || held.Limits["storage"] != storage || !slices.Equal(held.Own, own) {
			t.Errorf("%+v", held)
		}
	}
	refused := func(line, code string) {
		t.Helper()
		if _, err := command(t, dir, line); err == nil || shoal.AsError(err).Code != code {
			t.Errorf("%s: %v", line, err)
		}
	}
	must("team create acme")
	must("tier add free_1 --max-cpu=2 --creates-per-second=1")
	wants(limits(""), "default", 32, 1024)
	wants(limits("--tier=free_1 --storage=50"), "free_1", 2, 50, "storage")
	must("tier change free_1 --max-cpu=4 --storage=60")
	wants(limits(""), "free_1", 4, 50, "storage")
	must("tier change default --disk=512")
	wants(limits("--reset=storage --max-cpu=9"), "free_1", 9, 60, "max-cpu")
	if held := limits(""); held.Limits["disk"] != 10240 { // of the time at which the tier was added
		t.Errorf("%+v", held)
	}
	if out := must("team limits acme"); !strings.Contains(out, "tier free_1") || !strings.Contains(out, "team\n") {
		t.Error(out)
	}
	if out := must("tier list"); !strings.Contains(out, "free_1") || !strings.Contains(out, "creates-per-second") {
		t.Error(out)
	}
	must("team create other --tier=free_1")

	refused("tier add free_1", "tier.exists")
	refused("tier add Free", "request.invalid")
	refused("tier change none --builds=1", "tier.not_found")
	refused("tier remove none", "tier.not_found")
	refused("tier remove free_1", "tier.in_use")
	refused("tier remove default", "tier.in_use")
	refused("team create third --tier=none", "tier.not_found")
	refused("team limits acme --tier=none", "tier.not_found")
	refused("team limits acme --reset=luck", "request.invalid")
	wants(limits("--tier=default --reset=max-cpu"), "default", 32, 1024)
	must("team limits other --tier=default")
	must("tier remove free_1")
}

// TestLimitFlags: each limit has a flag that sets it within its bounds, and nothing else.
func TestLimitFlags(t *testing.T) {
	dir := t.TempDir()
	if _, err := command(t, dir, "team create acme"); err != nil {
		t.Fatal(err)
	}
	for i, limit := range shoal.Limits {
		n := limit.Least + int64(i) + 1
		out, err := command(t, dir, fmt.Sprintf("team limits acme --json --%s=%d", limit.Name, n))
		var held heldLimits
		if err != nil || json.Unmarshal([]byte(out), &held) != nil {
			t.Fatalf("%s: %v %s", limit.Name, err, out)
		}
		if held.Limits[limit.Name] != n || len(held.Own) != i+1 {
			t.Errorf("%s: %+v", limit.Name, held)
		}
		for _, n := range []int64{limit.Least - 1, limit.Most + 1} {
			_, err := command(t, dir, fmt.Sprintf("team limits acme --%s=%d", limit.Name, n))
			if err == nil || !strings.Contains(err.Error(), limit.Name) {
				t.Errorf("%s=%d: %v", limit.Name, n, err)
			}
		}
	}
}
