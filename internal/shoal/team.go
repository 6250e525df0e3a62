package shoal

import "time"

// Team owns keys, templates and sandboxes.
type Team struct {
	ID            string
	Name          string
	Slug          string // unique, [a-z0-9-]; the team's template namespace
	Tier          string
	Limits        TeamLimits // those that hold
	Own           LimitSet   // which of them are the team's own; the others are its tier's
	Blocked       bool
	BlockedReason string
	Banned        bool
	// MayPublish means that the team may show its templates to all teams, and give them
	// names without a namespace.
	MayPublish bool
}

// TeamLimits bounds what one team may use. Each is in Limits too.
type TeamLimits struct {
	ConcurrentSandboxes int
	Sandboxes           int           // running and paused
	MaxLength           time.Duration // of one execution; whole hours on the wire
	MaxCPU              int
	MaxMemoryMB         int64
	ConcurrentBuilds    int
	Builds              int // of templates and snapshots that are kept; also how many of those
	Templates           int // without snapshots
	Secrets             int
	DiskMB              int64 // writable MiB per sandbox
	StorageGB           int64 // GiB of paused sandboxes, snapshots and builds that are kept, in all
	EventDays           int   // how long events of its sandboxes are kept
	CreatesPerSecond    int   // of sandboxes; see docs/limits.md for what counts
	RequestsPerSecond   int   // to the API
	Volumes             int   // that it has at once
	VolumeMB            int64 // MiB in each of them
}

// MaxEventDays is the most that TeamLimits.EventDays may be (runtime.md §6.4).
const MaxEventDays = 365

// DefaultTeamLimits are those of the default tier until they are changed. They are generous: the
// machine is the operator's own.
func DefaultTeamLimits() TeamLimits {
	return TeamLimits{ConcurrentSandboxes: 1000, Sandboxes: 2000, MaxLength: 24 * time.Hour, MaxCPU: 32,
		MaxMemoryMB: 65536, ConcurrentBuilds: 20, Builds: 2000, Templates: 1000, Secrets: 500, DiskMB: 10240,
		StorageGB: 1024, EventDays: 7, CreatesPerSecond: 100, RequestsPerSecond: 2000, Volumes: 100, VolumeMB: 10240}
}

// APIKey is a stored key. The key itself is never kept, only its hash.
type APIKey struct {
	ID        string
	TeamID    string
	Name      string
	Hash      string
	Mask      Mask
	CreatedBy string // the user's ID; "" if the operator made it
	Scopes    Rights // 0 is KeyRights
	// Owner is the ID of the service account that acts by the key: it may no more than that one's
	// role. "" is the team itself.
	Owner string
	// Login means that the key stands for the user who made it: it was made by GET /teams, and
	// goes when they leave the team.
	Login     bool
	CreatedAt time.Time
	ExpiresAt time.Time // zero is never
	LastUsed  time.Time // zero if never
}

// Rights returns what the key may do.
func (k APIKey) Rights() Rights {
	if k.Scopes == 0 {
		return KeyRights
	}
	return k.Scopes & KeyRights
}

// Expired reports whether the key is no longer valid.
func (k APIKey) Expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

// The fixed development identity. It is the one that E2B's own development setup has,
// so clients that are configured for that work unchanged (api.md §2.7).
const (
	DevAPIKey        = "e2b_53ae1fed82754c17ad8077fbc8bcdd90"
	DevTeamID        = "0b8a3ded-4489-4722-afd1-1d82e64ec2d5"
	DevTeamName      = "local-dev team"
	DevTeamSlug      = "local-dev-team"
	DevTokenSeed     = "--sandbox-access-token-hash-seed--"
	DevAdminToken    = "--admin-token--"
	DevUserID        = "fb69f46f-eb51-4a87-a14e-306f7a3fd89c"
	DevUserEmail     = "user@e2b-dev.local"
	DevIssuer        = "http://localhost:4444/"
	DevSubject       = "local-dev-user"
	DevAccessToken   = "sk_e2b_89215020937a4c989cde33d7bc647715"
	DevAccessTokenID = "3d98c426-d348-446b-bdf6-5be3ca4123e2"
)

// BaseTemplateID is the ID of the template that every installation has. It equals the
// template's name, so clients may use either.
const BaseTemplateID = "base"
