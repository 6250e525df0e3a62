package main

import (
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"shoal/internal/shoal"
)

// TestTeamLimits: the flags that are named change their limits, and no others.
func TestTeamLimits(t *testing.T) {
	for args, want := range map[string]func(*shoal.TeamLimits){
		"acme":                                nil,
		"acme --sandboxes=5000 --builds=7":    func(l *shoal.TeamLimits) { l.Sandboxes, l.Builds = 5000, 7 },
		"acme --max-hours=1 --disk=2048":      func(l *shoal.TeamLimits) { l.MaxLength, l.DiskMB = time.Hour, 2048 },
		"acme --max-cpu=2 --max-memory=512":   func(l *shoal.TeamLimits) { l.MaxCPU, l.MaxMemoryMB = 2, 512 },
		"acme --storage=50":                   func(l *shoal.TeamLimits) { l.StorageGB = 50 },
		"acme --event-days=365":               func(l *shoal.TeamLimits) { l.EventDays = 365 },
		"acme --concurrent-builds=0":          func(l *shoal.TeamLimits) { l.ConcurrentBuilds = 0 },
		"acme --concurrent-sandboxes=1000000": func(l *shoal.TeamLimits) { l.ConcurrentSandboxes = 1_000_000 },
	} {
		var c teamLimitsCmd
		if _, err := kong.Must(&c).Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		got, expected := shoal.DefaultTeamLimits(), shoal.DefaultTeamLimits()
		changed, err := c.apply(&got)
		if want != nil {
			want(&expected)
		}
		if err != nil || got != expected || changed != (want != nil) {
			t.Errorf("%s: %+v, %v, %v", args, got, changed, err)
		}
	}
	for _, n := range []int{-1, maxTeamLimit + 1} {
		c := teamLimitsCmd{Builds: &n}
		limits := shoal.DefaultTeamLimits()
		if _, err := c.apply(&limits); err == nil || !strings.Contains(err.Error(), "--builds") || limits != shoal.DefaultTeamLimits() {
			t.Errorf("%d: %v", n, err)
		}
	}
	for _, n := range []int{0, 366} {
		c := teamLimitsCmd{EventDays: &n}
		limits := shoal.DefaultTeamLimits()
		if _, err := c.apply(&limits); err == nil || !strings.Contains(err.Error(), "--event-days") {
			t.Errorf("%d days: %v", n, err)
		}
	}
}
