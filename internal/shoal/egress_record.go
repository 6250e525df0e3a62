package shoal

import "time"

// EgressOutcome is what became of a connection that a sandbox opened; the texts are the wire's.
type EgressOutcome string

// The outcomes.
const (
	EgressAllowed EgressOutcome = "allowed"
	EgressDenied  EgressOutcome = "denied"
	// EgressEncrypted connections were denied because their TLS may hide another name (ECH) than the
	// one in the clear, which is allowed. ErrEgressEncrypted says what to do.
	EgressEncrypted EgressOutcome = "encrypted"
	// EgressFailed connections were allowed, and the server or the proxy was not reached.
	EgressFailed EgressOutcome = "failed"
)

// EgressRecord counts the connections of a sandbox to one place with one outcome in one minute.
// There are only those that the egress process decided about.
type EgressRecord struct {
	SandboxID string `json:"sandboxID"`
	TeamID    string `json:"teamID"`
	// Target is the name that was asked for, or else the address that was dialed; "…" stands for
	// the many places of a sandbox that tries more than are counted apart.
	Target  string        `json:"target"`
	Port    uint16        `json:"port"`
	Outcome EgressOutcome `json:"outcome"`
	Minute  time.Time     `json:"minute"` // UTC
	Count   int64         `json:"count"`
}

// Reason says why a connection had an outcome and what to do, or is nil where the outcome says all.
func (o EgressOutcome) Reason() *Kind {
	if o == EgressEncrypted {
		return ErrEgressEncrypted
	}
	return nil
}

// EgressRetention is how long records are kept.
const EgressRetention = 7 * 24 * time.Hour

// MaxEgressRecords is how many records one answer has at most.
const MaxEgressRecords = 1000

// EgressQuery is a part of the records of a sandbox. Zero times are the beginning and now.
type EgressQuery struct {
	TeamID   string
	From, To time.Time
	Limit    int // 0 is MaxEgressRecords
}
