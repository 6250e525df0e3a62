package build

import (
	"encoding/json"
	"strings"
	"time"
)

// Level is how important a line is; the texts are the wire's.
type Level string

const (
	Debug Level = "debug"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
)

var ranks = map[Level]int{Debug: 0, Info: 1, Warn: 2, Error: 3}

// AtLeast reports whether l is min or worse. An unknown level is below all.
func (l Level) AtLeast(min Level) bool {
	rank, ok := ranks[l]
	return ok && rank >= ranks[min]
}

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
