package main

import (
	"fmt"
	"slices"
	"time"
)

// figure is one comparison: ours against an anchor, in the same unit.
type figure struct {
	Row    string  `json:"row"` // what measures it again
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Ours   float64 `json:"ours"` // a median, unless the name says otherwise
	P95    float64 `json:"p95,omitempty"`
	Anchor float64 `json:"anchor,omitempty"`
	Of     string  `json:"of,omitempty"` // what the anchor is
	// Ratio is Ours / Anchor and Difference is Ours - Anchor; only the one that the target
	// refers to is set.
	Ratio      float64 `json:"ratio,omitempty"`
	Difference float64 `json:"difference,omitempty"`
	Target     string  `json:"target,omitempty"`
	Met        bool    `json:"met"`

	Samples       []float64 `json:"samples,omitempty"` // in the order of their measurement
	AnchorSamples []float64 `json:"anchorSamples,omitempty"`
}

// target is what a figure should be.
type target struct {
	text string
	met  func(figure) bool
}

func atMost(ms float64) target {
	return target{fmt.Sprintf("at most %.0f ms", ms), func(f figure) bool { return f.Ours <= ms }}
}

func p95AtMost(ms float64) target {
	return target{fmt.Sprintf("p95 at most %.0f ms", ms), func(f figure) bool { return f.P95 <= ms }}
}

func ratioAtMost(n float64) target {
	return target{fmt.Sprintf("at most × %.3g", n), func(f figure) bool { return f.Ratio <= n }}
}

func ratioAtLeast(n float64) target {
	return target{fmt.Sprintf("at least × %.3g", n), func(f figure) bool { return f.Ratio >= n }}
}

func rateAtLeast(n float64) target {
	return target{fmt.Sprintf("at least %.0f /s", n), func(f figure) bool { return f.Ours >= n }}
}

// compare adds the figure of a latency, in ms. Without an anchor, of is empty.
func (r *report) compare(name string, ours, anchor times, of string, wanted ...target) {
	f := figure{Name: name, Unit: "ms", Ours: ours.median(), P95: ours.p95(), Of: of,
		Samples: ours.ms(), AnchorSamples: anchor.ms()}
	if len(anchor) > 0 {
		f.Anchor = anchor.median()
		f.Ratio = f.Ours / f.Anchor
	}
	r.add(f, wanted...)
}

// adds adds the figure of what something costs, as the difference of two medians in microseconds.
func (r *report) adds(name string, with, without times, of string, atMost float64) {
	f := figure{Name: name, Unit: "µs", Ours: 1000 * with.median(), P95: 1000 * with.p95(),
		Anchor: 1000 * without.median(), Of: of}
	f.Difference = f.Ours - f.Anchor
	r.add(f, target{fmt.Sprintf("at most +%.0f µs", atMost),
		func(f figure) bool { return f.Difference <= atMost }})
}

// quantiles adds the figure of a latency that was measured so often that its samples are not listed.
func (r *report) quantiles(name string, took times) {
	r.add(figure{Name: name, Unit: "ms", Ours: took.median(), P95: took.p95()})
}

// times are measurements of one kind.
type times []time.Duration

// time adds how long do takes, unless it fails.
func (t *times) time(do func() error) error {
	begin := time.Now()
	err := do()
	if err == nil {
		*t = append(*t, time.Since(begin))
	}
	return err
}

func (t times) quantile(q float64) float64 {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Clone(t)
	slices.Sort(sorted)
	return ms(sorted[int(q*float64(len(sorted)-1)+0.5)])
}

func (t times) median() float64 { return t.quantile(0.5) }
func (t times) p95() float64    { return t.quantile(0.95) }

func (t times) ms() []float64 {
	var list []float64
	for _, d := range t {
		list = append(list, ms(d))
	}
	return list
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// middle is the median of an odd number of values.
func middle(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }
