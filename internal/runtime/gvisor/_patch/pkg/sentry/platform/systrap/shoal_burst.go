package systrap

import "runtime"

// While a guest and its kernel wait for each other they may spin instead of sleeping. That
// speeds up long runs of system calls, but takes the processor from other guests, the proxy
// and the client. With few processors, a command in an idle guest is faster without it;
// with it, one took a fifth longer.
const (
	fewProcessors = 2
	// burstPeriods is how many recordingPeriods of work after idleness pass without
	// spinning: longer than a short command takes.
	burstPeriods = 64
)

// beginSlowly delays spinning when the guest has become idle.
func (s *fastPathState) beginSlowly() {
	if runtime.NumCPU() > fewProcessors {
		return
	}
	s.stubFPBackoff = max(s.stubFPBackoff, burstPeriods)
	s.sentryFPBackoff = max(s.sentryFPBackoff, burstPeriods)
}
