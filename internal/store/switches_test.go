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
		must(s.SetSwitch(ctx, "", shoal.SwitchForks, false))
		must(s.SetSwitch(ctx, "a", shoal.SwitchForks, true))
		must(s.SetSwitch(ctx, "a", shoal.SwitchLogs, false))
		wants("a", shoal.Positions{Off: shoal.SwitchForks}, shoal.Positions{On: shoal.SwitchForks, Off: shoal.SwitchLogs})
		wants("b", shoal.Positions{Off: shoal.SwitchForks}, shoal.Positions{})
		wants("", shoal.Positions{Off: shoal.SwitchForks}, shoal.Positions{})
		must(s.SetSwitch(ctx, "", shoal.SwitchForks, true)) // once more
		must(s.ResetSwitch(ctx, "a", shoal.SwitchForks))
		must(s.ResetSwitch(ctx, "a", shoal.SwitchForks))
		wants("a", shoal.Positions{On: shoal.SwitchForks}, shoal.Positions{Off: shoal.SwitchLogs})
		if _, err := s.db.ExecContext(ctx, "INSERT INTO switches (team_id, name, is_on) VALUES ('a', 'later', FALSE)"); err != nil {
			t.Fatal(err)
		}
		wants("a", shoal.Positions{On: shoal.SwitchForks}, shoal.Positions{Off: shoal.SwitchLogs})
	})
}
