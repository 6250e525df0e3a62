package shoal

import "time"

// User is a person, or a service account.
type User struct {
	ID        string
	Email     string // in lower case; unique; a service account's is name@slug of its team
	CreatedAt time.Time
	// ServiceTeam is the ID of the team whose service account this is; "" for a person.
	ServiceTeam string
}

// Membership is what a user is in a team.
type Membership struct {
	User    User
	Team    Team
	Role    Role
	Default bool // the team that is meant where the user names none; one per user
}

// Identity is a user as an issuer of tokens knows them.
type Identity struct {
	Issuer  string
	Subject string
}

// AccessToken is a stored token of a user. The token itself is never kept, only its hash.
type AccessToken struct {
	ID        string
	UserID    string
	Name      string
	Hash      string
	Mask      Mask
	CreatedAt time.Time
}

// Mask is what is shown of a secret that is kept as a hash.
type Mask struct {
	Prefix string // first 2 characters of the value
	Suffix string // last 4 characters of the value
	Length int    // of the value, without "e2b_" or "sk_e2b_"
}
