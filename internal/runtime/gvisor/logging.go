package gvisor

import (
	"time"

	glog "gvisor.dev/gvisor/pkg/log"
)

// discardEmitter drops log lines.
type discardEmitter struct{}

var _ glog.Emitter = discardEmitter{}

func (discardEmitter) Emit(int, glog.Level, time.Time, string, ...any) {}
