package shoal

import (
	"encoding/json"
	"time"
)

// EventType is what happened to a sandbox; the texts are the wire's (runtime.md §6.4).
type EventType string

const (
	EventCreated      EventType = "sandbox.lifecycle.created"
	EventPaused       EventType = "sandbox.lifecycle.paused"
	EventResumed      EventType = "sandbox.lifecycle.resumed"
	EventUpdated      EventType = "sandbox.lifecycle.updated"
	EventKilled       EventType = "sandbox.lifecycle.killed"
	EventCheckpointed EventType = "sandbox.lifecycle.checkpointed"
)

// EventTypes are all of them.
var EventTypes = []EventType{EventCreated, EventPaused, EventResumed, EventUpdated, EventKilled,
	EventCheckpointed}

// eventVersion is the version of the payload.
const eventVersion = "v2"

// Event tells what happened to a sandbox. A machine writes it together with the state that it
// tells of.
type Event struct {
	ID     string    `json:"id"`     // a UUID, the same however often the event is handed on
	Number int64     `json:"number"` // among the sandbox's events, from 1 without gaps
	Type   EventType `json:"type"`
	Time   time.Time `json:"time"` // UTC; of two events of a sandbox the later one's is later

	SandboxID   string `json:"sandboxID"`
	ExecutionID string `json:"executionID"`
	TemplateID  string `json:"templateID"`
	BuildID     string `json:"buildID"`
	TeamID      string `json:"teamID"`
	// Data is an object of JSON, the words of which are the wire's.
	Data string `json:"data"`
}

// EventData is what an event says besides.
type EventData struct {
	Metadata   map[string]string `json:"sandbox_metadata,omitempty"`
	Execution  *EventExecution   `json:"execution,omitempty"` // that has ended: of pauses and kills
	KillReason string            `json:"kill_reason,omitempty"`
	SetTimeout *time.Time        `json:"set_timeout,omitempty"` // the new end
	Egress     *EventEgress      `json:"network_egress,omitempty"`
}

// EventExecution is one run of a sandbox.
type EventExecution struct {
	StartedAt    time.Time `json:"started_at"`
	CPUCount     int       `json:"vcpu_count"`
	MemoryMB     int64     `json:"memory_mb"`
	Milliseconds int64     `json:"execution_time"`
}

// EventEgress is a new egress policy.
type EventEgress struct {
	AllowInternet *bool    `json:"allow_internet_access,omitempty"`
	AllowOut      []string `json:"allow_out"`
	DenyOut       []string `json:"deny_out"`
}

// NewEvent returns an event of a sandbox as it is then. Its number is the caller's matter.
func NewEvent(t EventType, sb Sandbox, at time.Time, data EventData) Event {
	data.Metadata = sb.Metadata
	text, err := json.Marshal(data)
	if err != nil {
		text = []byte("{}") // a time that JSON does not have
	}
	return Event{ID: NewEventID(), Type: t, Time: at, SandboxID: sb.SandboxID, ExecutionID: sb.ExecutionID,
		TemplateID: sb.TemplateID, BuildID: sb.BuildID, TeamID: sb.TeamID, Data: string(text)}
}

// KillReasonOf is the word that clients know for a reason (runtime.md §3.7).
func KillReasonOf(reason KillReason) string {
	switch reason {
	case KillCrashed:
		return string(KillUnknown)
	case KillDown:
		return string(KillAdmin)
	default:
		return string(reason)
	}
}

// EventWire is an event as clients and webhooks get it.
type EventWire struct {
	Version     string          `json:"version"`
	ID          string          `json:"id"`
	Type        EventType       `json:"type"`
	Data        json.RawMessage `json:"eventData"`
	BuildID     string          `json:"sandboxBuildId"`
	ExecutionID string          `json:"sandboxExecutionId"`
	SandboxID   string          `json:"sandboxId"`
	TeamID      string          `json:"sandboxTeamId"`
	TemplateID  string          `json:"sandboxTemplateId"`
	Time        time.Time       `json:"timestamp"`
	// Number is Shoal's own: who gets events in another order, or misses one, sees it by this.
	Number int64 `json:"sandboxEventNumber"`
}

// Wire returns the event as clients get it.
func (e Event) Wire() EventWire {
	return EventWire{Version: eventVersion, ID: e.ID, Type: e.Type, Data: json.RawMessage(e.Data),
		BuildID: e.BuildID, ExecutionID: e.ExecutionID, SandboxID: e.SandboxID, TeamID: e.TeamID,
		TemplateID: e.TemplateID, Time: e.Time, Number: e.Number}
}

// EventMark is a place in the log of a machine's events. The zero value is its beginning.
type EventMark struct {
	Log      string // which log it is; a machine that lost its log has another
	Position int64
}

// EventBatch is a part of such a log.
type EventBatch struct {
	Events []Event
	Next   EventMark // the place after them
}

// EventDataOfEnd is the data of the end of a sandbox of which the data of its last event alone
// is known.
func EventDataOfEnd(last string, reason KillReason) string {
	var data EventData
	_ = json.Unmarshal([]byte(last), &data) // it was made by NewEvent
	text, _ := json.Marshal(EventData{Metadata: data.Metadata, KillReason: KillReasonOf(reason)})
	return string(text)
}
