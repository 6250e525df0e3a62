package shoal

import "testing"

func TestSwitchNames(t *testing.T) {
	var all Switches
	last := ""
	for _, one := range EverySwitch() {
		name := one.String()
		if parsed, err := ParseSwitch(name); err != nil || parsed != one || all&one != 0 || one.About() == "" || name <= last {
			t.Errorf("%q: %v, %v, %q", name, parsed, err, one.About())
		}
		all, last = all|one, name
	}
	for one, name := range map[Switches]string{SwitchAutoResume: "auto-resume", SwitchBuilds: "builds", SwitchEvents: "events", SwitchForks: "forks",
		SwitchInternet: "internet", SwitchLogs: "logs", SwitchMemoryPause: "memory-pause", SwitchMetrics: "metrics", SwitchPublishing: "publishing",
		SwitchRegistryImages: "registry-images", SwitchSnapshots: "snapshots", SwitchWebhooks: "webhooks"} {
		if one.String() != name {
			t.Errorf("%s is %s", name, one)
		}
	}
	if set, err := ParseSwitches([]string{"forks", "logs"}); err != nil || set != SwitchForks|SwitchLogs || set.String() != "forks logs" {
		t.Errorf("%s, %v", set, err)
	}
	if _, err := ParseSwitches([]string{"forks", "luck"}); !ErrSwitchNotFound.Matches(err) {
		t.Errorf("%v", err)
	}
}

func TestOffFor(t *testing.T) {
	for _, c := range []struct {
		fixed              Switches
		installation, team Positions
		want               Switches
	}{
		{0, Positions{}, Positions{}, 0},
		{0, Positions{Off: SwitchForks}, Positions{}, SwitchForks},
		{0, Positions{Off: SwitchForks}, Positions{On: SwitchForks}, 0},
		{0, Positions{Off: SwitchForks}, Positions{On: SwitchLogs}, SwitchForks},
		{0, Positions{On: SwitchForks}, Positions{Off: SwitchForks}, SwitchForks},
		{SwitchForks, Positions{On: SwitchForks}, Positions{On: SwitchForks}, SwitchForks},
		{SwitchLogs, Positions{Off: SwitchForks}, Positions{Off: SwitchEvents}, SwitchLogs | SwitchForks | SwitchEvents},
	} {
		if got := OffFor(c.fixed, c.installation, c.team); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
