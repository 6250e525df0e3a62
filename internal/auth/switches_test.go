package auth

import (
	"testing"

	"shoal/internal/shoal"
)

// TestStanding: what the configuration has off is off for every team, whatever was switched.
func TestStanding(t *testing.T) {
	st, a := openPeople(t, Config{Off: shoal.SwitchEvents})
	for _, one := range []shoal.Switches{shoal.SwitchEvents, shoal.SwitchSignedURLs} {
		if err := st.SetSwitch(t.Context(), shoal.DevTeamID, one, true); err != nil {
			t.Fatal(err)
		}
		if err := st.SetSwitch(t.Context(), "other", one, false); err != nil {
			t.Fatal(err)
		}
	}
	for one, want := range map[shoal.Switches]shoal.Standing{
		shoal.SwitchEvents: {Off: true}, shoal.SwitchSignedURLs: {Others: []string{"other"}}, shoal.SwitchForks: {}} {
		if got, err := a.Standing(t.Context(), one); err != nil || !got.Equal(want) {
			t.Errorf("%s: %+v, %v", one, got, err)
		}
	}
}
