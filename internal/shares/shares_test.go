package shares

import "testing"

func TestSharesForget(t *testing.T) {
	s := Shares[string]{Each: 1024}
	for range 128 {
		if !s.Take("s", 8) {
			t.Fatal("refused below the bound")
		}
	}
	if s.Take("s", 1) {
		t.Error("admitted over the bound")
	}
	if !s.Take("other", 1024) {
		t.Error("another one's bound is taken")
	}
	s.Give("other", 1024)
	for range 128 {
		s.Give("s", 8)
	}
	if len(s.held) != 0 || s.total != 0 {
		t.Errorf("%v is left, %d in all", s.held, s.total)
	}
}

func TestScarceShares(t *testing.T) {
	s := Shares[string]{All: 8, Each: 4, Scarce: 1}
	if !s.Take("greedy", 3) || !s.Take("greedy", 1) || s.Take("greedy", 1) {
		t.Error("one does not get its share, or gets more")
	}
	if !s.Take("late", 1) || s.Take("late", 1) {
		t.Error("when half is taken, another one gets its small share and no more")
	}
	for _, taker := range []string{"a", "b", "c"} {
		if !s.Take(taker, 1) {
			t.Errorf("%s gets nothing of what is left", taker)
		}
	}
	if s.Take("d", 1) {
		t.Error("more is taken than there is")
	}
	for taker, want := range map[string]int{"greedy": 4, "late": 1} {
		if full, bound := s.Full(taker, 1); !full || bound != want {
			t.Errorf("%s is over %d: %v", taker, bound, full)
		}
	}
	if full, _ := s.Full("d", 1); full {
		t.Error("one that has nothing is over its bound")
	}
}
