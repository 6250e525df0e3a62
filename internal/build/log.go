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
	Step    string    `json:"s,omitempty"` // as Failure.Step
}

// Log takes the lines of one build. It is safe for concurrent use and never
// fails: what cannot be kept is dropped, because a build must not depend on it.
type Log interface {
	// Write adds a line. step is as in Failure; the message may be cut.
	Write(level Level, step, message string)
}

const (
	maxMessage = 32 << 10 // bytes of one line
	maxLogFile = 64 << 20 // bytes of one build's log
)

// encode is the entry as a line of a log file.
func (e Entry) encode() []byte {
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage] + " [cut]"
	}
	// JSON would replace bytes that are not UTF-8, too, but one by one.
	e.Message = strings.ToValidUTF8(e.Message, "\uFFFD")
	data, _ := json.Marshal(e) // strings and times always encode
	return append(data, '\n')
}
