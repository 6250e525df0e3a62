package series

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"shoal/internal/shoal"
)

// buckets reduces samples to the maximum of each step, whatever the order they come in.
type buckets struct {
	step time.Duration
	max  map[int64]*shoal.Sample // by the number of the step
}

func newBuckets(step time.Duration) *buckets {
	return &buckets{step: step, max: map[int64]*shoal.Sample{}}
}

// add counts a sample. A bucket has the time of its first sample, so that no time lies outside
// of the range that was asked for.
func (b *buckets) add(s shoal.Sample) {
	n := s.Time.UnixMilli() / b.step.Milliseconds()
	m, ok := b.max[n]
	if !ok {
		b.max[n] = &s
		return
	}
	if s.Time.Before(m.Time) {
		m.Time = s.Time
	}
	m.CPUCount = max(m.CPUCount, s.CPUCount)
	m.CPUUsedPct = max(m.CPUUsedPct, s.CPUUsedPct)
	m.MemUsed, m.MemTotal = max(m.MemUsed, s.MemUsed), max(m.MemTotal, s.MemTotal)
	m.MemCache = max(m.MemCache, s.MemCache)
	m.DiskUsed, m.DiskTotal = max(m.DiskUsed, s.DiskUsed), max(m.DiskTotal, s.DiskTotal)
	m.Host.CPUUsedPct = max(m.Host.CPUUsedPct, s.Host.CPUUsedPct)
	m.Host.MemBytes = max(m.Host.MemBytes, s.Host.MemBytes)
	m.Host.HeldBytes = max(m.Host.HeldBytes, s.Host.HeldBytes)
	m.Host.DiskBytes = max(m.Host.DiskBytes, s.Host.DiskBytes)
}

// list returns the buckets, oldest first.
func (b *buckets) list() []shoal.Sample {
	list := make([]shoal.Sample, 0, len(b.max))
	for m := range maps.Values(b.max) {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(x, y shoal.Sample) int { return cmp.Compare(x.Time.UnixNano(), y.Time.UnixNano()) })
	return list
}

// Merge returns the maximum of each step of two answers that have the same steps, oldest first.
func Merge(step time.Duration, a, b []shoal.Sample) []shoal.Sample {
	all := newBuckets(step)
	for _, s := range slices.Concat(a, b) {
		all.add(s)
	}
	return all.list()
}
