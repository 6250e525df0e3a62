package sandboxlog

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// uncopied returns the lines that are still to be copied, and marks them.
func uncopied(t *testing.T, s *Store, rows, bytes int) (text string) {
	t.Helper()
	list, mark, err := s.Uncopied(t.Context(), rows, bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		text += fmt.Sprintf(" %s:%s", k.SandboxID, k.Message)
		if k.Spool == "" || k.TeamID != "team" || k.Time.IsZero() || k.Level == "" || k.Line == "" {
			t.Errorf("%+v lacks something", k)
		}
	}
	if len(list) > 0 {
		if err := s.Copied(t.Context(), mark); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

// TestUncopied: each line is to be copied once, whatever goes meanwhile.
func TestUncopied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs.db")
	s := openAt(t, path)
	add(t, s, source("one"), `{"message":"a"}`+"\n"+`{"message":"b"}`)
	add(t, s, source("two"), `{"message":"c"}`)
	if got := uncopied(t, s, 2, 1<<20); got != " one:a one:b" {
		t.Errorf("the first two: %q", got)
	}
	add(t, s, source("two"), `{"message":"d"}`)
	if got := uncopied(t, s, 10, 1); got != " two:c" {
		t.Errorf("with one byte: %q", got)
	}
	if got := uncopied(t, s, 10, 1<<20); got != " two:d" {
		t.Errorf("the last: %q", got)
	}
	if err := s.tidy(t.Context(), time.Now().Add(30*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	add(t, s, source("one"), `{"message":"e"}`) // its number is not one of those that have gone
	if got := uncopied(t, s, 10, 1<<20); got != " one:e" {
		t.Errorf("after all have gone: %q", got)
	}
}
