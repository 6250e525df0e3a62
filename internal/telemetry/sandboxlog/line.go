package sandboxlog

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"shoal/internal/shoal"
)

const (
	maxLine    = 192 << 10 // bytes; longer ones are dropped (envd.md §4.7)
	maxLines   = 10_000    // of one report
	maxMessage = 32 << 10  // bytes
)

// The keys of a line that have a meaning (api.md §3.14). The node sets the last three
// itself, so that a guest cannot write lines in another's name.
const (
	keyTime     = "timestamp"
	keyLevel    = "level"
	keyMessage  = "message"
	keyCategory = "category"
	keyLogger   = "logger" // the part of the sandbox that wrote the line
	keySandbox  = "instanceID"
	keyTemplate = "envID"
	keyTeam     = "teamID"
)

// decode reads the lines of a report.
func decode(from Source, body []byte, now time.Time) []shoal.LogEntry {
	var list []shoal.LogEntry
	for line := range bytes.Lines(body) {
		if len(list) == maxLines {
			break
		}
		var doc map[string]any
		if len(line) > maxLine || json.Unmarshal(line, &doc) != nil || doc[keyCategory] == "metrics" {
			continue
		}
		if e := entryOf(from, doc, now); !e.Time.Before(from.Since) {
			list = append(list, e)
		}
	}
	return list
}

// compose makes a line that the node itself writes.
func compose(from Source, level shoal.LogLevel, message string, fields map[string]any,
	now time.Time) shoal.LogEntry {
	doc := map[string]any{keyLogger: "orchestrator", keyLevel: string(level), keyMessage: message}
	for key, value := range fields {
		doc[key] = value
	}
	return entryOf(from, doc, now)
}

// entryOf adds the keys that every line has to a document, and drops nested values.
func entryOf(from Source, doc map[string]any, now time.Time) shoal.LogEntry {
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
	if _, ok := doc[keyLogger].(string); !ok {
		doc[keyLogger] = "sandbox" // E2B's command line expects the key
	}
	for key, value := range doc {
		if _, ok := flat(value); !ok {
			delete(doc, key)
		}
	}
	doc[keyTime], doc[keyLevel], doc[keyMessage] = e.Time.Format(time.RFC3339Nano), string(e.Level), e.Message
	doc[keySandbox], doc[keyTemplate], doc[keyTeam] = from.SandboxID, from.TemplateID, from.TeamID
	line, _ := json.Marshal(doc) // strings, numbers and booleans always encode
	e.Line = string(line)
	return e
}

// flat returns a value that is not nested as text.
func flat(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// fieldsOf returns a line's fields other than its time, level and message.
func fieldsOf(line string) map[string]string {
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
