package systrap

import "runtime"

// A guest and its kernel that wait for each other may spin instead of sleeping. That
// quickens long runs of system calls, but takes the processor that other guests, the
// proxy and the client need. Where processors are few, a command in an idle guest had
// better be done without: it took a fifth longer.
const (
	fewProcessors = 2
	// burstPeriods is how many recordingPeriods of work after idleness pass without
	// spinning: longer than a short command takes.
	burstPeriods = 64
)

// beginSlowly puts spinning off when the guest has become idle.
func (s *fastPathState) beginSlowly() {
	if runtime.NumCPU() > fewProcessors {
		return
	}
	s.stubFPBackoff = max(s.stubFPBackoff, burstPeriods)
	s.sentryFPBackoff = max(s.sentryFPBackoff, burstPeriods)
}
