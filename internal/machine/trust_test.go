package machine

import (
	"slices"
	"testing"
)

// TestOwnAuthorityIsNotForGuests: `shoal trust` does not change the base image.
func TestOwnAuthorityIsNotForGuests(t *testing.T) {
	got := forGuests([]string{"/store/company.crt", "/store/shoal-authority-sandbox.localhost.crt"})
	if !slices.Equal(got, []string{"/store/company.crt"}) {
		t.Errorf("guests get %v", got)
	}
}
