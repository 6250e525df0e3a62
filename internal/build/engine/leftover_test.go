package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestOutlived: output has outlived its command if the command was found exited twice in a
// row and the output is still open.
func TestOutlived(t *testing.T) {
	for _, c := range []struct {
		lives []bool // at each look; the output ends soon after the last one
		want  bool
	}{
		{nil, false},
		{[]bool{true, true, true}, false},
		{[]bool{true, true, false}, false},
		{[]bool{false, true, false}, false},
		{[]bool{true, false, false}, true},
		{[]bool{false, false}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(),
				time.Duration(len(c.lives))*time.Second+time.Millisecond)
			defer cancel()
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			n := 0
			lives := func() bool { n++; return c.lives[n-1] }
			if got := outlived(ctx, tick.C, lives); got != c.want || n != len(c.lives) {
				t.Errorf("%v: %v after %d looks", c.lives, got, n)
			}
		})
	}
}
