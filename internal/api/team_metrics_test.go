package api

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// tally is counts of one machine from a time on: running, and created in the first.
func tally(node string, from time.Time, created int, running ...int) shoal.Tally {
	c := shoal.Tally{TeamID: shoal.DevTeamID, NodeID: node, From: from}
	for i, n := range running {
		count := shoal.Count{Running: n}
		if i == 0 {
			count.Created = created
		}
		c.Counts = append(c.Counts, count)
	}
	return c
}

// TestTeamMetrics: machines' counts of the same times add up, whichever apis store them and
// however often (api.md §3.15, §7.6 54).
func TestTeamMetrics(t *testing.T) {
	w := newWorld(t)
	at := time.Now().UTC().Truncate(shoal.TallyLength).Add(-time.Hour)
	part := tally("a", at, 4, 1, 2)
	whole := tally("a", at, 4, 1, 2, 3)
	for _, list := range [][]shoal.Tally{{part}, {whole, tally("b", at, 1, 5, 5, 0)}, {whole}, {part}} {
		w.must(w.store.AddTallies(t.Context(), list))
	}
	other := tally("a", at, 9, 90)
	other.TeamID = otherTeam
	w.must(w.store.AddTallies(t.Context(), []shoal.Tally{other}))
	type point struct {
		Timestamp           time.Time
		TimestampUnix       int64
		ConcurrentSandboxes int
		SandboxStartRate    float64
	}
	path := "/teams/" + shoal.DevTeamID + "/metrics"
	get := func(query string) (points []point) {
		t.Helper()
		r := w.call("GET", path+query, "")
		r.wants(t, 200, "")
		r.json(t, &points)
		return points
	}
	fine := get(fmt.Sprintf("?start=%d&end=%d", at.Unix(), at.Add(time.Minute).Unix()))
	want := []point{{at, at.Unix(), 6, 1}, {at.Add(5 * time.Second), at.Unix() + 5, 7, 0},
		{at.Add(10 * time.Second), at.Unix() + 10, 3, 0}}
	if !slices.Equal(fine, want) {
		t.Errorf("got %v, want %v", fine, want)
	}
	if coarse := get(""); len(coarse) != 1 || coarse[0].ConcurrentSandboxes != 7 ||
		coarse[0].SandboxStartRate != 0.005556 || coarse[0].TimestampUnix != at.Unix() {
		t.Errorf("by 15 minutes: %v", coarse)
	}
	if some := get(fmt.Sprintf("?start=%d&end=%d", at.Unix()+1, at.Unix()+9)); !slices.Equal(some, want[1:2]) {
		t.Errorf("of a part: %v", some)
	}
	if none := get("?start=1&end=2"); len(none) != 0 {
		t.Errorf("of long ago: %v", none)
	}
	for query, value := range map[string]float64{"concurrent_sandboxes": 7, "sandbox_start_rate": 0.005556} {
		r := w.call("GET", path+"/max?metric="+query, "")
		r.wants(t, 200, "")
		if r.field(t, "value") != value || r.field(t, "timestampUnix") != float64(at.Unix()) {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	r := w.call("GET", "/teams/"+smallTeam+"/metrics/max?metric=concurrent_sandboxes", "", "X-API-Key", smallKey)
	r.wants(t, 200, "")
	if r.field(t, "value") != 0.0 || r.field(t, "timestamp") == nil {
		t.Errorf("of a team without any: %s", r.body)
	}
	foreign := fmt.Sprintf("You (%s) are not authorized to access this team's (%s) metrics", otherTeam, shoal.DevTeamID)
	w.call("GET", path, "", "X-API-Key", otherKey).wants(t, 403, foreign)
	w.call("GET", path+"/max?metric=concurrent_sandboxes", "", "X-API-Key", otherKey).wants(t, 403, foreign)
	w.call("GET", path+"?start=2&end=1", "").wants(t, 400, "start time cannot be after end time")
	w.call("GET", path+fmt.Sprintf("?start=%d", time.Now().Unix()+3600), "").
		wants(t, 400, "start time cannot be after end time")
	w.call("GET", path+"?start=-1", "").wants(t, 400, validationPrefix)
	w.call("GET", path+"/max", "").wants(t, 400, validationPrefix)
	w.call("GET", path+"/max?metric=nonsense", "").wants(t, 400, validationPrefix)
}

// TestPointsAcrossWindows: a step may consist of several tallies, and a machine that was
// started again in the middle counts once.
func TestPointsAcrossWindows(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Hour)
	list := []shoal.Tally{
		tally("a", at.Add(4*time.Minute+50*time.Second), 1, 1, 1),
		tally("a", at.Add(5*time.Minute), 2, 2),
		tally("a", at.Add(5*time.Minute+20*time.Second), 3, 3), // the machine's next process
		tally("a", at.Add(15*time.Minute), 4, 4),
	}
	points := pointsOf(list, at, at.Add(time.Hour), 15*time.Minute)
	if len(points) != 2 || points[0].running != 3 || points[1].running != 4 ||
		points[0].rate != 0.006667 || !points[0].at.Equal(at.Add(4*time.Minute+50*time.Second)) {
		t.Errorf("%+v", points)
	}
}

// BenchmarkTeamPoints is a month of a team that always has sandboxes, on ten machines.
func BenchmarkTeamPoints(b *testing.B) {
	from := time.Now().UTC().Truncate(shoal.TallyLength).Add(-shoal.TallyRetention)
	var list []shoal.Tally
	running := make([]int, 60)
	for at := from; at.Before(from.Add(shoal.TallyRetention)); at = at.Add(shoal.TallyLength) {
		for node := range 10 {
			list = append(list, tally(fmt.Sprint(node), at, 1, running...))
		}
	}
	for b.Loop() {
		pointsOf(list, from, from.Add(shoal.TallyRetention), 15*time.Minute)
	}
}
