package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestFollow: each event that comes is found once, in the order in which they came, and none
// from before.
func TestFollow(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	err = st.CreateTeam(t.Context(), shoal.Team{ID: "team", Slug: "team", Limits: shoal.DefaultTeamLimits()})
	if err != nil {
		t.Fatal(err)
	}
	happen := func(numbers ...int64) {
		t.Helper()
		var list []shoal.Event
		for _, n := range numbers {
			list = append(list, shoal.Event{ID: fmt.Sprint(n), Number: n, Type: shoal.EventUpdated, TeamID: "team",
				SandboxID: "one", Time: time.Now().UTC().Add(time.Duration(n) * time.Microsecond), Data: "{}"})
		}
		if _, err := st.AddEvents(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	happen(1)
	time.Sleep(2 * time.Millisecond) // stored at another time
	f := follower{store: st, team: "team", seen: map[string]time.Time{}, since: time.Now()}
	for _, c := range []struct {
		numbers []int64
		want    string
	}{{nil, ""}, {[]int64{2, 3}, "2 3"}, {nil, ""}, {[]int64{4}, "4"}, {nil, ""}} {
		happen(c.numbers...)
		found, err := f.next(t.Context())
		var got []string
		for _, e := range found {
			got = append(got, e.ID)
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("after %v: %v, %v, want %q", c.numbers, got, err, c.want)
		}
	}
}

func TestParseEventTypes(t *testing.T) {
	got, err := parseEventTypes([]string{"killed", "sandbox.lifecycle.created"})
	if err != nil || len(got) != 2 || got[0] != shoal.EventKilled || got[1] != shoal.EventCreated {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseEventTypes([]string{"ended"}); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestPrintEvents(t *testing.T) {
	e := shoal.Event{ID: "x", Number: 3, Type: shoal.EventKilled, SandboxID: "one", Data: `{"kill_reason":"request"}`}
	for asJSON, want := range map[bool]string{true: `"sandboxEventNumber":3`, false: "killed  one      3       {"} {
		var out bytes.Buffer
		if err := printEvents(&out, []shoal.Event{e}, asJSON, true); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v: %q, %v", asJSON, out.String(), err)
		}
	}
}
