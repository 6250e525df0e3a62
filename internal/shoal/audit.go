package shoal

import (
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// ActorKind is by what somebody acted.
type ActorKind string

const (
	ActorUser     ActorKind = "user"     // a person, by a token of an issuer
	ActorToken    ActorKind = "token"    // a person, by an access token
	ActorKey      ActorKind = "key"      // whoever has an API key of a team
	ActorService  ActorKind = "service"  // a service account, by one of its API keys
	ActorLink     ActorKind = "link"     // whoever has a link for the upload of a template's files
	ActorOperator ActorKind = "operator" // whoever has the admin token
	ActorSandbox  ActorKind = "sandbox"  // a sandbox, by what its headers name
	ActorHost     ActorKind = "host"     // whoever ran a command on the machine of the database
	ActorShoal    ActorKind = "shoal"    // the installation by itself
	ActorNobody   ActorKind = "nobody"   // whose credentials were refused
)

// Actor is who did something. It is written down as it is then, so that it can be read when the
// user or key is gone.
type Actor struct {
	Kind   ActorKind
	ID     string // of the user, token or key
	UserID string // of the person, where one is known
	Name   string // the person's address, the key's or token's name, the user of the host
}

// AuditEntry is one line of the audit log.
type AuditEntry struct {
	ID         string
	At         time.Time
	TeamID     string // "" concerns no team, or none that is known
	Actor      Actor
	Operation  string // an operation of the API's specification, or a command
	TargetKind string // "" if it is about nothing that has an ID
	TargetID   string
	Address    string // of the client; the domain of a use of a secret
	Agent      string
	RequestID  string
	Status     int // of the answer by HTTP; 0 if there was none
	ErrorCode  string
	// Count is how often the same happened: more than once only of refusals, of uses, and of what
	// was lost.
	Count int64
}

// The operations of uses, which are told once a minute with their number.
const (
	AuditSecretUsed = "secret.used"         // a secret was given out for a header
	AuditTokenUsed  = "workload-token.used" // a token of a sandbox's identity was signed for one
)

// The operations of entries that Shoal writes of the log itself.
const (
	AuditLost    = "audit.lost"    // entries that could not be stored
	AuditTrimmed = "audit.trimmed" // a team's oldest entries, which gave way to newer ones
)

// NewAuditID returns an ID; those of later entries are greater.
func NewAuditID() string {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.NewString() // only the order of two entries of a microsecond depends on it
	}
	return id.String()
}

// auditText is what a text of an entry may have, in bytes.
const auditText = 256

// secretText is what looks like a key or token of Shoal's.
var secretText = regexp.MustCompile(`(?i)\b(sk_)?e2b_[0-9a-f]{2,}|\beyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)*`)

// Clean returns the entry as it may be kept: its texts, which clients choose, are short, and
// have no control characters and nothing that looks like a secret.
func (e AuditEntry) Clean() AuditEntry {
	for _, text := range []*string{&e.TeamID, &e.Actor.ID, &e.Actor.UserID, &e.Actor.Name, &e.Operation, &e.TargetKind,
		&e.TargetID, &e.Address, &e.Agent, &e.RequestID, &e.ErrorCode} {
		*text = cleanText(*text)
	}
	if e.Count < 1 {
		e.Count = 1
	}
	return e
}

func cleanText(text string) string {
	if len(text) > 4*auditText {
		text = text[:4*auditText] // so that nobody's long text costs much
	}
	text = secretText.ReplaceAllString(strings.ToValidUTF8(text, "?"), "…")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	for len(text) > auditText {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}
