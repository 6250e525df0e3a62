package shoal

import (
	"os"
	"strings"
	"testing"
)

func TestSwitchNames(t *testing.T) {
	page, err := os.ReadFile("../../docs/switches.md")
	if err != nil {
		t.Fatal(err)
	}
	var all Switches
	last := ""
	for _, one := range EverySwitch() {
		name := one.String()
		if parsed, err := ParseSwitch(name); err != nil || parsed != one || all&one != 0 || one.About() == "" || name <= last {
			t.Errorf("%q: %v, %v, %q", name, parsed, err, one.About())
		}
		if !strings.Contains(string(page), "\n| `"+name+"` | ") {
			t.Errorf("docs/switches.md does not say what is refused without %s", name)
		}
		all, last = all|one, name
	}
	for one, name := range map[Switches]string{SwitchAutoResume: "auto-resume", SwitchBuilds: "builds", SwitchEgressProxies: "egress-proxies", SwitchEvents: "events", SwitchForks: "forks",
		SwitchInternet: "internet", SwitchLogs: "logs", SwitchMemoryPause: "memory-pause", SwitchMetrics: "metrics", SwitchPublishing: "publishing",
		SwitchRegistryImages: "registry-images", SwitchSignedURLs: "signed-urls", SwitchPauses: "pauses",
		SwitchPublicTraffic: "public-traffic", SwitchServiceAccounts: "service-accounts", SwitchSnapshots: "snapshots", SwitchWebhooks: "webhooks"} {
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

func TestStanding(t *testing.T) {
	on, off := Standing{}, Standing{Off: true}
	some, most := Standing{Others: []string{"a", "c"}}, Standing{Off: true, Others: []string{"a", "c"}}
	for _, c := range []struct {
		Standing
		team string
		want bool
	}{{on, "a", false}, {off, "a", true}, {some, "a", true}, {some, "b", false}, {some, "c", true},
		{most, "a", false}, {most, "b", true}, {most, "c", false}} {
		if got := c.OffFor(c.team); got != c.want {
			t.Errorf("%+v, of %q: %t", c.Standing, c.team, got)
		}
	}
	for i, one := range []Standing{on, off, some, most} {
		for j, other := range []Standing{on, off, some, most} {
			if one.Equal(other) != (i == j) {
				t.Errorf("%+v and %+v", one, other)
			}
		}
	}
}
