package shoal

import "time"

// LogLevel is how important a line of a log is; the texts are the wire's.
type LogLevel string

const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

var logRanks = map[LogLevel]int{LogDebug: 0, LogInfo: 1, LogWarn: 2, LogError: 3}

// AtLeast reports whether l is least or worse. An unknown level is below all.
func (l LogLevel) AtLeast(least LogLevel) bool {
	rank, ok := logRanks[l]
	return ok && rank >= logRanks[least]
}

// LogRetention is how long the log of a sandbox or build is kept after its last line
// (runtime.md §6.1).
const LogRetention = 7 * 24 * time.Hour

// LogEntry is one line of a sandbox's log.
type LogEntry struct {
	Time    time.Time         `json:"time"` // UTC
	Level   LogLevel          `json:"level"`
	Message string            `json:"message"`
	Fields  map[string]string `json:"fields,omitempty"` // what else the line says, nothing nested
	// Line is the entry as one JSON object, which command lines parse.
	Line string `json:"line"`
}

// LogQuery is a part of a sandbox's log.
type LogQuery struct {
	// From is the first time that counts, or, backward, the last one. Zero is the
	// beginning, or, backward, now.
	From     time.Time
	Backward bool // newest first
	Level    LogLevel
	Search   string // a part of the message; "" is all
	Limit    int
}
