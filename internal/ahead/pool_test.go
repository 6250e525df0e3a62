package ahead

import (
	"testing"
	"time"
)

// thing is an item of the tests; it has ended if it says so.
type thing struct {
	name  string
	ended bool
}

func (t *thing) Ended() bool { return t.ended }

func all(*thing) bool { return true }

func TestDemand(t *testing.T) {
	p, start := NewPool[string, *thing](make(chan struct{}, 1)), time.Now()
	for range 8 {
		p.Take("b", start, all)
	}
	for after, want := range map[time.Duration]float64{0: 8, HalfLife: 4, 3 * HalfLife: 1} {
		if got := p.Demand(start.Add(after))["b"]; got < want-0.01 || got > want+0.01 {
			t.Errorf("after %s: %f, want %f", after, got, want)
		}
	}
	if got := p.Demand(start.Add(time.Hour)); len(got) != 0 || len(p.demand) != 0 {
		t.Errorf("after an hour: %v", got)
	}
}

func TestTake(t *testing.T) {
	taken := make(chan struct{}, 1)
	p, now := NewPool[string, *thing](taken), time.Now()
	p.Add("a", &thing{name: "dead", ended: true})
	p.Add("a", &thing{name: "unfit"})
	p.Add("a", &thing{name: "fit"})
	got, ok := p.Take("a", now, func(t *thing) bool { return t.name != "unfit" })
	if !ok || got.name != "fit" || len(taken) != 1 {
		t.Errorf("took %v %v, told %d", got, ok, len(taken))
	}
	if got, ok := p.Take("a", now, func(t *thing) bool { return t.name != "unfit" }); ok {
		t.Errorf("took %v of what is left", got)
	}
	if p.Size() != 2 || p.Ready("a") != 1 {
		t.Errorf("%d are left, %d alive", p.Size(), p.Ready("a"))
	}
}

func TestSurplusAndMissing(t *testing.T) {
	p := NewPool[string, *thing](make(chan struct{}, 1))
	for _, item := range []*thing{{name: "1"}, {name: "2", ended: true}, {name: "3"}, {name: "4"}} {
		p.Add("a", item)
	}
	p.Add("b", &thing{name: "5"})
	wanted := map[string]int{"a": 2, "c": 1, "d": 3}
	var out []string
	for _, item := range p.Surplus(wanted) {
		out = append(out, item.name)
	}
	if len(out) != 3 || p.Size() != 2 || p.Ready("a") != 2 {
		t.Errorf("surplus: %v; %d are left", out, p.Size())
	}
	if key, ok := p.Missing(wanted); !ok || key != "d" {
		t.Errorf("missing: %q %v", key, ok)
	}
	if key, ok := p.Missing(map[string]int{"a": 2}); ok {
		t.Errorf("missing although there are enough: %q", key)
	}
}
