package sandboxlog

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"shoal/internal/shoal"
)

const (
	maxLine    = 192 << 10 // bytes; longer ones are dropped (envd.md §4.7)
	maxLines   = 10_000    // of one report
	maxMessage = 32 << 10  // bytes
	maxFields  = 64        // of a line
	maxLogger  = 64        // bytes of its logger
)

// The keys of a line that have a meaning (api.md §3.14). The node sets the last four
// itself, so that a guest cannot write lines in another's name. The origin is Shoal's own.
const (
	keyTime     = "timestamp"
	keyLevel    = "level"
	keyMessage  = "message"
	keyCategory = "category"
	keyLogger   = "logger" // the part of the sandbox that wrote the line
	keySandbox  = "instanceID"
	keyTemplate = "envID"
	keyTeam     = "teamID"
	keyOrigin   = "origin"
)

// Who wrote a line.
const (
	originNode  = "node"
	originGuest = "guest"
)

// The names of the part that wrote a line: of what the node writes, and of what a guest
// writes without a name of its own.
const (
	loggerNode  = "orchestrator"
	loggerGuest = "sandbox"
)

// decode reads the lines of a report.
func decode(from Source, body []byte, now time.Time) []shoal.LogEntry {
	var list []shoal.LogEntry
	for line := range bytes.Lines(body) {
		var doc map[string]any
		if len(line) > maxLine || json.Unmarshal(line, &doc) != nil || doc == nil ||
			doc[keyCategory] == "metrics" {
			continue
		}
		doc[keyLogger] = guestLogger(doc[keyLogger])
		if e := entryOf(from, originGuest, doc, now); !e.Time.Before(from.Since) {
			list = append(list, e)
		}
	}
	return list
}

// guestLogger returns the name of the part of a sandbox that a guest says wrote a line,
// which command lines print, unless it looks like the node's.
func guestLogger(said any) string {
	name, _ := said.(string)
	strange := func(r rune) bool { // letters of other scripts look like these
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/:", r)
	}
	if name == "" || len(name) > maxLogger || strings.ContainsFunc(name, strange) ||
		strings.Contains(strings.ToLower(name), loggerNode) {
		return loggerGuest
	}
	return name
}

// compose makes a line that the node itself writes.
func compose(from Source, level shoal.LogLevel, message string, fields map[string]any,
	now time.Time) shoal.LogEntry {
	doc := map[string]any{keyLogger: loggerNode, keyLevel: string(level), keyMessage: message}
	for key, value := range fields {
		doc[key] = value
	}
	return entryOf(from, originNode, doc, now)
}

// entryOf adds the keys that every line has to a document, and drops nested values. Of a
// document with too many fields, or fields that are too long, no others are left.
func entryOf(from Source, origin string, doc map[string]any, now time.Time) shoal.LogEntry {
	e := shoal.LogEntry{Time: now.UTC(), Level: shoal.LogInfo}
	if text, ok := doc[keyTime].(string); ok {
		// A guest's clock may be wrong. Times in the future are ignored.
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil && t.Before(now) {
			e.Time = t.UTC()
		}
	}
	e.Time = e.Time.Truncate(time.Microsecond)
	if text, ok := doc[keyLevel].(string); ok {
		if level := shoal.LogLevel(strings.ToLower(text)); level.AtLeast(shoal.LogDebug) {
			e.Level = level
		}
	}
	e.Message, _ = doc[keyMessage].(string)
	if len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage], "") + " [cut]"
	}
	for key, value := range doc {
		if _, ok := flat(value); !ok {
			delete(doc, key)
		}
	}
	own := map[string]any{keyTime: e.Time.Format(time.RFC3339Nano), keyLevel: string(e.Level),
		keyMessage: e.Message, keyLogger: doc[keyLogger], keyOrigin: origin, keySandbox: from.SandboxID,
		keyTemplate: from.TemplateID, keyTeam: from.TeamID}
	maps.Copy(doc, own)
	line, _ := json.Marshal(doc) // strings, numbers and booleans always encode
	if len(doc) > maxFields || len(line) > maxLine {
		line, _ = json.Marshal(own)
	}
	e.Line = string(line)
	return e
}

// flat returns a value that is not nested as text.
func flat(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case float64:
		if math.Abs(v) >= 1e21 { // 300 digits would say no more
			return strconv.FormatFloat(v, 'g', -1, 64), true
		}
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// FieldsOf returns a line's fields other than its time, level and message.
func FieldsOf(line string) map[string]string {
	var doc map[string]any
	_ = json.Unmarshal([]byte(line), &doc) // it was made by entryOf
	fields := map[string]string{}
	for key, value := range doc {
		if text, ok := flat(value); ok && key != keyTime && key != keyLevel && key != keyMessage {
			fields[key] = text
		}
	}
	return fields
}
