package orchestrator

import "sync/atomic"

// load is what the machine is doing for callers, and has done since its start.
type load struct {
	starting        atomic.Int64 // creates, resumes and openings of workbenches under way
	created, failed atomic.Int64
}

// begin counts one start until end.
func (l *load) begin() (end func()) {
	l.starting.Add(1)
	return func() { l.starting.Add(-1) }
}
