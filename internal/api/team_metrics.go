package api

import (
	"context"
	"math"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// defaultTallySpan is the range of time of a team's metrics if none is given (api.md §3.15).
const defaultTallySpan = 7 * 24 * time.Hour

// GetTeamMetrics returns how many sandboxes a team had and began.
func (s *Server) GetTeamMetrics(
	ctx context.Context, req gen.GetTeamMetricsRequestObject,
) (gen.GetTeamMetricsResponseObject, error) {
	points, _, err := s.teamPoints(ctx, req.TeamID, req.Params.Start, req.Params.End)
	if err != nil {
		return nil, err
	}
	answer := make(gen.GetTeamMetrics200JSONResponse, len(points))
	for i, p := range points {
		answer[i] = gen.TeamMetric{Timestamp: p.at.UTC(), TimestampUnix: p.at.Unix(),
			ConcurrentSandboxes: int32(p.running), SandboxStartRate: p.rate}
	}
	return answer, nil
}

// GetTeamMetricsMax returns the greatest value of one of a team's metrics, and when it was.
func (s *Server) GetTeamMetricsMax(
	ctx context.Context, req gen.GetTeamMetricsMaxRequestObject,
) (gen.GetTeamMetricsMaxResponseObject, error) {
	points, end, err := s.teamPoints(ctx, req.TeamID, req.Params.Start, req.Params.End)
	if err != nil {
		return nil, err
	}
	greatest, at := 0.0, end
	for _, p := range points {
		value := p.rate
		if req.Params.Metric == gen.ConcurrentSandboxes {
			value = float64(p.running)
		}
		if value > greatest {
			greatest, at = value, p.at
		}
	}
	return gen.GetTeamMetricsMax200JSONResponse{Timestamp: at.UTC(), TimestampUnix: at.Unix(),
		Value: greatest}, nil
}

// teamPoints returns a team's points in a range of time, and its end.
func (s *Server) teamPoints(
	ctx context.Context, teamID string, start, end *int64,
) (points []teamPoint, to time.Time, err error) {
	if own := callerOf(ctx).Team.ID; teamID != own {
		return nil, to, shoal.ErrForbidden.New("You (%s) are not authorized to access this team's (%s) metrics",
			own, teamID)
	}
	from, to := second(start), second(end)
	if end == nil {
		to = time.Now().UTC()
	}
	if start == nil {
		from = to.Add(-defaultTallySpan)
	}
	if from.After(to) && (end != nil || afterEnd(from, time.Time{})) {
		return nil, to, shoal.ErrBadRequest.New("start time cannot be after end time")
	}
	// What is left of older counts is to be removed.
	oldest := time.Now().Add(-shoal.TallyRetention)
	step := shoal.MetricStep(to.Sub(from))
	if from.Before(oldest) {
		from = oldest
	}
	list, err := s.store.Tallies(ctx, teamID, from, to)
	return pointsOf(list, from, to, step), to, err
}

// teamPoint is what a team had in one step.
type teamPoint struct {
	at      time.Time // of the first count in the step
	running int       // at most at one time
	rate    float64   // sandboxes begun, a second
}

// pointsOf adds up what machines have counted at the same times, and makes a point of each step.
// The list is in the order of the tallies' beginnings.
func pointsOf(list []shoal.Tally, from, to time.Time, step time.Duration) []teamPoint {
	var points []teamPoint
	var window tallyWindow
	flush := func() {
		for at, c := range window.counts(from, to) {
			n := len(points)
			if n == 0 || !points[n-1].at.Truncate(step).Equal(at.Truncate(step)) {
				points = append(points, teamPoint{at: at})
				n++
			}
			p := &points[n-1]
			p.running = max(p.running, c.Running)
			p.rate += float64(c.Created) / step.Seconds()
		}
	}
	for _, c := range list {
		if start := c.From.Truncate(shoal.TallyLength); !start.Equal(window.start) {
			flush()
			window = tallyWindow{start: start}
		}
		window.add(c)
	}
	flush()
	for i := range points {
		points[i].rate = math.Round(points[i].rate*1e6) / 1e6 // sums of parts are not exact
	}
	return points
}

// tallyWindow is the sums of all tallies of one TallyLength.
type tallyWindow struct {
	start   time.Time
	sums    [shoal.TallyLength / shoal.SamplePeriod]shoal.Count
	counted [shoal.TallyLength / shoal.SamplePeriod]bool
}

func (w *tallyWindow) add(c shoal.Tally) {
	first := int(c.From.Sub(w.start) / shoal.SamplePeriod)
	for i, count := range c.Counts {
		if n := first + i; n < len(w.sums) {
			w.sums[n].Running += count.Running
			w.sums[n].Created += count.Created
			w.counted[n] = true
		}
	}
}

// counts passes on the sums of a range of time, with their times.
func (w *tallyWindow) counts(from, to time.Time) func(yield func(time.Time, shoal.Count) bool) {
	return func(yield func(time.Time, shoal.Count) bool) {
		for i, sum := range w.sums {
			at := w.start.Add(time.Duration(i) * shoal.SamplePeriod)
			if w.counted[i] && !at.Before(from) && !at.After(to) && !yield(at, sum) {
				return
			}
		}
	}
}
