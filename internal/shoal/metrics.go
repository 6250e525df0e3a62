package shoal

import "time"

const (
	// SamplePeriod is how often a running sandbox is measured, and how often its machine counts
	// a team's sandboxes: the finest step that clients ask for (api.md §3.13).
	SamplePeriod = 5 * time.Second
	// MetricRetention is how long a sandbox's samples are kept, whether it has ended or not
	// (runtime.md §6.3).
	MetricRetention = 7 * 24 * time.Hour
	// TallyRetention is how long it is kept how many sandboxes a team had (runtime.md §6.3).
	TallyRetention = 30 * 24 * time.Hour
)

// Metrics is one sample of a guest's use, as envd reports it.
type Metrics struct {
	Time       time.Time `json:"time"`
	CPUCount   int       `json:"cpuCount"`
	CPUUsedPct float64   `json:"cpuUsedPct"`
	MemUsed    int64     `json:"memUsed"`   // bytes
	MemTotal   int64     `json:"memTotal"`  // bytes
	MemCache   int64     `json:"memCache"`  // bytes
	DiskUsed   int64     `json:"diskUsed"`  // bytes
	DiskTotal  int64     `json:"diskTotal"` // bytes
}

// HostUse is what the machine sees a guest use. Operators see it; tenants do not.
type HostUse struct {
	CPUUsedPct float64 // of one processor, since the sample before
	MemBytes   int64   // charged to the guest, page cache included
	HeldBytes  int64   // of that, what the machine cannot take back while the guest keeps it
	DiskBytes  int64   // allocated by the writable layer
}

// Sample is one measurement of a running sandbox, from inside and from outside.
type Sample struct {
	Metrics
	Host HostUse
}

// Silent reports whether the guest did not say what it uses; of Metrics there is only the time.
func (s Sample) Silent() bool { return s.CPUCount == 0 }

// MetricsQuery is a part of what is kept of a sandbox.
type MetricsQuery struct {
	TeamID string // whose sandbox it must be
	// Operator asks for a sandbox of any team, and for samples of silent guests too.
	Operator bool
	// From and To are the first and the last time that count; zero is the first sample, and now.
	From, To time.Time
}

// MetricStep returns how much time one answered value stands for, in a range of time
// (api.md §3.13).
func MetricStep(span time.Duration) time.Duration {
	switch {
	case span < time.Hour:
		return SamplePeriod
	case span < 6*time.Hour:
		return 30 * time.Second
	case span < 12*time.Hour:
		return time.Minute
	case span < 24*time.Hour:
		return 2 * time.Minute
	case span < 7*24*time.Hour:
		return 5 * time.Minute
	default:
		return 15 * time.Minute
	}
}

// TallyLength is the longest time of one Tally.
const TallyLength = 5 * time.Minute

// Tally is how many sandboxes a team had on one machine, counted every SamplePeriod. It does
// not go past a multiple of TallyLength.
type Tally struct {
	TeamID string
	NodeID string
	From   time.Time // of the first count, a multiple of SamplePeriod
	Counts []Count
}

// Count is one count of a team's sandboxes.
type Count struct {
	Running int // at the time of the count
	Created int // since the count before
}

// Until returns the time of the last count.
func (c Tally) Until() time.Time {
	return c.From.Add(time.Duration(len(c.Counts)-1) * SamplePeriod)
}
