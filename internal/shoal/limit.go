package shoal

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxLimit is the most that a limit may be if it has no bound of its own; hours beyond it would
// not fit into the API's numbers.
const MaxLimit = 1_000_000

// Limit is one of TeamLimits under the name by which operators know it: in flags, on the wire and
// in the store.
type Limit struct {
	Name        string
	Least, Most int64
	get         func(*TeamLimits) int64
	set         func(*TeamLimits, int64)
}

// Limits are all limits. A LimitSet counts on their order, which is never stored.
var Limits = []Limit{
	ofInt("concurrent-sandboxes", 0, func(l *TeamLimits) *int { return &l.ConcurrentSandboxes }),
	ofInt("sandboxes", 0, func(l *TeamLimits) *int { return &l.Sandboxes }),
	{Name: "max-hours", Most: MaxLimit,
		get: func(l *TeamLimits) int64 { return int64(l.MaxLength / time.Hour) },
		set: func(l *TeamLimits, n int64) { l.MaxLength = time.Duration(n) * time.Hour }},
	ofInt("max-cpu", 0, func(l *TeamLimits) *int { return &l.MaxCPU }),
	ofInt("max-memory", 0, func(l *TeamLimits) *int64 { return &l.MaxMemoryMB }),
	ofInt("disk", 0, func(l *TeamLimits) *int64 { return &l.DiskMB }),
	ofInt("concurrent-builds", 0, func(l *TeamLimits) *int { return &l.ConcurrentBuilds }),
	ofInt("builds", 0, func(l *TeamLimits) *int { return &l.Builds }),
	ofInt("templates", 0, func(l *TeamLimits) *int { return &l.Templates }),
	ofInt("secrets", 0, func(l *TeamLimits) *int { return &l.Secrets }),
	ofInt("storage", 0, func(l *TeamLimits) *int64 { return &l.StorageGB }),
	eventDays(),
	ofInt("creates-per-second", 1, func(l *TeamLimits) *int { return &l.CreatesPerSecond }),
	ofInt("requests-per-second", 1, func(l *TeamLimits) *int { return &l.RequestsPerSecond }),
	ofInt("max-volumes", 0, func(l *TeamLimits) *int { return &l.Volumes }),
	volumeSize(),
}

func ofInt[N int | int64](name string, least int64, at func(*TeamLimits) *N) Limit {
	return Limit{Name: name, Least: least, Most: MaxLimit,
		get: func(l *TeamLimits) int64 { return int64(*at(l)) },
		set: func(l *TeamLimits, n int64) { *at(l) = N(n) }}
}

// volumeSize may be more than other limits: a volume can be on storage of any size.
func volumeSize() Limit {
	size := ofInt("volume-size", 1, func(l *TeamLimits) *int64 { return &l.VolumeMB })
	size.Most = 1 << 40
	return size
}

// eventDays is a day at least: webhooks are tried for as long.
func eventDays() Limit {
	days := ofInt("event-days", 1, func(l *TeamLimits) *int { return &l.EventDays })
	days.Most = MaxEventDays
	return days
}

// holds reports whether a limit may be so much.
func (l Limit) holds(n int64) bool { return n >= l.Least && n <= l.Most }

// LimitSet names some of the limits: bit i is Limits[i].
type LimitSet uint32

// EveryLimit names all limits.
func EveryLimit() LimitSet { return 1<<len(Limits) - 1 }

func (s LimitSet) has(i int) bool { return s&(1<<i) != 0 }

// Names lists the limits' names in their order.
func (s LimitSet) Names() []string {
	names := []string{}
	for i, limit := range Limits {
		if s.has(i) {
			names = append(names, limit.Name)
		}
	}
	return names
}

// ParseLimitNames returns the limits of the names.
func ParseLimitNames(names []string) (set LimitSet, err error) {
	for _, name := range names {
		i := limitNamed(name)
		if i < 0 {
			return 0, ErrBadRequest.New("No limit is named %.64q; there are %s", name,
				strings.Join(EveryLimit().Names(), ", "))
		}
		set |= 1 << i
	}
	return set, nil
}

// ParseLimits returns the limits that are named and what they are, each within its bounds; the
// others are 0.
func ParseLimits(named map[string]int64) (values TeamLimits, set LimitSet, err error) {
	if set, err = ParseLimitNames(slices.Sorted(maps.Keys(named))); err != nil {
		return values, 0, err
	}
	for i, limit := range Limits {
		if !set.has(i) {
			continue
		}
		n := named[limit.Name]
		if !limit.holds(n) {
			return values, 0, ErrBadRequest.New("%s is %d; it must be from %d to %d", limit.Name, n,
				limit.Least, limit.Most)
		}
		limit.set(&values, n)
	}
	return values, set, nil
}

// Named returns all limits by their names.
func (l TeamLimits) Named() map[string]int64 {
	named := make(map[string]int64, len(Limits))
	for _, limit := range Limits {
		named[limit.Name] = limit.get(&l)
	}
	return named
}

// With returns the limits with some of another's.
func (l TeamLimits) With(other TeamLimits, which LimitSet) TeamLimits {
	for i, limit := range Limits {
		if which.has(i) {
			limit.set(&l, limit.get(&other))
		}
	}
	return l
}

// Besides are the limits that differ from another's and that a team may have.
func (l TeamLimits) Besides(other TeamLimits) (set LimitSet) {
	for i, limit := range Limits {
		if n := limit.get(&l); n != limit.get(&other) && limit.holds(n) {
			set |= 1 << i
		}
	}
	return set
}

// FormatLimits writes some of the limits as the store keeps them, "NAME=N NAME=N".
func FormatLimits(l TeamLimits, which LimitSet) string {
	var fields []string
	for i, limit := range Limits {
		if which.has(i) {
			fields = append(fields, limit.Name+"="+strconv.FormatInt(limit.get(&l), 10))
		}
	}
	return strings.Join(fields, " ")
}

// ScanLimits reads what FormatLimits has written, and leaves out what another version knows. Bounds
// are those of the version that wrote it.
func ScanLimits(text string) (values TeamLimits, set LimitSet, err error) {
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return TeamLimits{}, 0, fmt.Errorf("read the limit %q: %w", field, err)
		}
		if i := limitNamed(name); i >= 0 {
			Limits[i].set(&values, n)
			set |= 1 << i
		}
	}
	return values, set, nil
}

// limitNamed is the position of a limit, or -1.
func limitNamed(name string) int {
	return slices.IndexFunc(Limits, func(l Limit) bool { return l.Name == name })
}
