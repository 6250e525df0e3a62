package auth

import (
	"strconv"
	"testing"
)

func TestRecentIsBounded(t *testing.T) {
	r := newRecent()
	for i := range maxCached + 100 {
		credential := strconv.Itoa(i)
		r.note(credential, true)
		if !r.has(credential) {
			t.Fatalf("%d is not known", i)
		}
	}
	if len(r.known) != maxCached {
		t.Errorf("%d are known", len(r.known))
	}
	last := strconv.Itoa(maxCached + 99)
	if r.note(last, false); r.has(last) {
		t.Error("one that lets nobody in any more is known")
	}
	if r.note("", true); r.has("") {
		t.Error("none at all is known")
	}
}
