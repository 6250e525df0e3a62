package shoal

import (
	"strings"
	"testing"
)

// TestLimitNames: each limit of TeamLimits has a name, by which it goes to the store and comes back.
func TestLimitNames(t *testing.T) {
	named := map[string]int64{}
	for i, limit := range Limits {
		named[limit.Name] = limit.Least + int64(i) + 1
	}
	values, set, err := ParseLimits(named)
	if err != nil || set != EveryLimit() {
		t.Fatalf("%+v, %v, %v", values, set.Names(), err)
	}
	if all := values.Besides(TeamLimits{}); all != EveryLimit() {
		t.Errorf("limits share a place: only %v differ", all.Names())
	}
	again, set, err := ScanLimits(FormatLimits(values, EveryLimit()) + " later=7")
	if err != nil || again != values || set != EveryLimit() {
		t.Errorf("%+v came back as %+v, %v, %v", values, again, set.Names(), err)
	}
	for _, text := range []string{"builds", "builds=x", "=1 builds="} {
		if _, _, err := ScanLimits(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	for name, n := range map[string]int64{"luck": 1, "builds": -1, "event-days": 0, "storage": MaxLimit + 1, "requests-per-second": 0} {
		if _, _, err := ParseLimits(map[string]int64{name: n}); !ErrBadRequest.Matches(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%d: %v", name, n, err)
		}
	}
}

func TestLimitChange(t *testing.T) {
	names := func(names ...string) LimitSet {
		set, err := ParseLimitNames(names)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	c := LimitChange{Set: names("builds"), Values: TeamLimits{Builds: 5, MaxCPU: 9}, Reset: names("disk", "storage")}
	own, values := c.Of(names("disk", "max-cpu"), TeamLimits{DiskMB: 1, MaxCPU: 2})
	if own != names("builds", "max-cpu") || values.Builds != 5 || values.MaxCPU != 2 {
		t.Errorf("%v %+v", own.Names(), values)
	}
}

func TestTierNames(t *testing.T) {
	for name, fine := range map[string]bool{"default": true, "base_v1": true, "2-big": true, "": false, "-a": false, "A": false,
		"a b": false, "a/b": false, strings.Repeat("a", 63): true, strings.Repeat("a", 64): false} {
		if err := CheckTierName(name); (err == nil) != fine {
			t.Errorf("%q: %v", name, err)
		}
	}
}
