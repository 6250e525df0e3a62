package build

import (
	"encoding/json"
	"strings"
	"time"

	"shoal/internal/shoal"
)

// Level is how important a line is.
type Level = shoal.LogLevel

const (
	Debug = shoal.LogDebug
	Info  = shoal.LogInfo
	Warn  = shoal.LogWarn
	Error = shoal.LogError
)

// Entry is one line of a build's log. Its JSON form is what log files contain.
type Entry struct {
	Time    time.Time `json:"t"`
	Level   Level     `json:"l"`
	Message string    `json:"m"`
	Step    string    `json:"s,omitempty"` // as in Failure.Step
}

// Log receives the lines of one build. It is safe for concurrent use and never fails: lines
// that cannot be kept are dropped, so that no build depends on its log.
type Log interface {
	// Write adds a line. step is as in Failure; a long message may be cut.
	Write(level Level, step, message string)
}

const (
	maxMessage = 32 << 10 // bytes of one line
	maxLogFile = 64 << 20 // bytes of one build's log
)

// encode returns the entry as a line of a log file.
func (e Entry) encode() []byte {
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage] + " [cut]"
	}
	// JSON also replaces bytes that are not UTF-8, but one by one.
	e.Message = strings.ToValidUTF8(e.Message, "\uFFFD")
	data, _ := json.Marshal(e) // cannot fail for strings and times
	return append(data, '\n')
}
