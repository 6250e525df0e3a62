package main

import (
	"fmt"
	"testing"
)

func TestNewestMinors(t *testing.T) {
	versions := []string{"1.2.0", "2.0.1", "2.9.0", "2.10.0-beta.1", "2.10.1", "2.10.0", "2.9.12", "2.9.3", "2.11.0rc1",
		"1.13.2", "1.13.10", "3"}
	for _, c := range []struct {
		minors, major int
		want          string
	}{
		{2, 0, "[2.10.1 2.9.12]"},
		{4, 0, "[2.10.1 2.9.12 2.0.1 1.13.10]"}, // before 2.0 comes the last of 1.x
		{1, 1, "[1.13.10]"},
		{9, 1, "[1.13.10 1.2.0]"}, // there are no more
		{1, 4, "[]"},
	} {
		if got := fmt.Sprint(newestMinors(versions, c.minors, c.major)); got != c.want {
			t.Errorf("%d minors of %d: %s, want %s", c.minors, c.major, got, c.want)
		}
	}
}
