package store

import (
	"testing"

	"shoal/internal/shoal"
)

func TestSwitches(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		wants := func(teamID string, installation, team shoal.Positions) {
			t.Helper()
			if a, b, err := s.Switches(ctx, teamID); err != nil || a != installation || b != team {
				t.Errorf("of %q: %+v, %+v, %v", teamID, a, b, err)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		wants("a", shoal.Positions{}, shoal.Positions{})
		if never, err := s.Standing(ctx, shoal.SwitchForks); err != nil || !never.Equal(shoal.Standing{}) {
			t.Errorf("%+v, %v", never, err)
		}
		must(s.SetSwitch(ctx, "", shoal.SwitchForks, false))
		must(s.SetSwitch(ctx, "a", shoal.SwitchForks, true))
		must(s.SetSwitch(ctx, "a", shoal.SwitchLogs, false))
		wants("a", shoal.Positions{Off: shoal.SwitchForks}, shoal.Positions{On: shoal.SwitchForks, Off: shoal.SwitchLogs})
		wants("b", shoal.Positions{Off: shoal.SwitchForks}, shoal.Positions{})
		wants("", shoal.Positions{Off: shoal.SwitchForks}, shoal.Positions{})
		stands := func(want shoal.Standing) {
			t.Helper()
			if got, err := s.Standing(ctx, shoal.SwitchForks); err != nil || !got.Equal(want) {
				t.Errorf("%+v, %v", got, err)
			}
		}
		must(s.SetSwitch(ctx, "c", shoal.SwitchForks, false))
		stands(shoal.Standing{Off: true, Others: []string{"a"}})
		must(s.SetSwitch(ctx, "", shoal.SwitchForks, true)) // once more
		stands(shoal.Standing{Others: []string{"c"}})
		must(s.SetSwitch(ctx, "0", shoal.SwitchForks, false))
		stands(shoal.Standing{Others: []string{"0", "c"}})
		must(s.ResetSwitch(ctx, "a", shoal.SwitchForks))
		must(s.ResetSwitch(ctx, "a", shoal.SwitchForks))
		wants("a", shoal.Positions{On: shoal.SwitchForks}, shoal.Positions{Off: shoal.SwitchLogs})
		if _, err := s.db.ExecContext(ctx, "INSERT INTO switches (team_id, name, is_on) VALUES ('a', 'later', FALSE)"); err != nil {
			t.Fatal(err)
		}
		wants("a", shoal.Positions{On: shoal.SwitchForks}, shoal.Positions{Off: shoal.SwitchLogs})
	})
}
