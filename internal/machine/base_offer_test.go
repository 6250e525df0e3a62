package machine

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestOfferSince: an offer is new only if its image differs from the last one.
func TestOfferSince(t *testing.T) {
	dir, begin := t.TempDir(), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for n, c := range []struct {
		digest string
		want   int // the step whose time is given
	}{{"a", 0}, {"a", 0}, {"b", 2}, {"a", 3}, {"a", 3}} {
		got, err := offerSince(dir, c.digest, begin.Add(time.Duration(n)*time.Hour))
		if err != nil || !got.Equal(begin.Add(time.Duration(c.want)*time.Hour)) {
			t.Errorf("step %d: %v, %v", n, got, err)
		}
	}
	// A damaged file is replaced.
	if err := os.WriteFile(filepath.Join(dir, "base.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := offerSince(dir, "a", begin); err != nil || !got.Equal(begin) {
		t.Errorf("after a damaged file: %v, %v", got, err)
	}
}
