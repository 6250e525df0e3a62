package shoal

import (
	"fmt"
	"strings"
)

// Rights is a set of what a caller may do. Operations name one each (x-shoal-right in
// spec/openapi.yml); roles and API keys have several.
type Rights uint32

const (
	ReadSandboxes Rights = 1 << iota
	WriteSandboxes
	ReadTemplates
	WriteTemplates
	ReadTeam  // what is known of the team as a whole
	WriteTeam // its settings
	ReadKeys  // which API keys there are, not their text
	WriteKeys
	ActAsUser   // what belongs to a person, not to a team
	Operate     // the installation itself
	ReadAudit   // the audit log of the team
	ReadSecrets // which secrets there are, not their values
	WriteSecrets

	// KeyRights are what an API key without scopes may do.
	KeyRights = ReadSandboxes | WriteSandboxes | ReadTemplates | WriteTemplates | ReadTeam | WriteTeam |
		ReadSecrets | WriteSecrets
)

// rightNames are the names on the wire, by the bits' positions.
var rightNames = []string{"sandboxes:read", "sandboxes:write", "templates:read", "templates:write",
	"team:read", "team:write", "keys:read", "keys:write", "user", "operate", "audit:read", "secrets:read",
	"secrets:write"}

// ParseRight returns the one right of a name.
func ParseRight(name string) (Rights, error) {
	for i, known := range rightNames {
		if name == known {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("no right is named %q", name)
}

// ParseScopes returns the rights of the names, all of which an API key can have. No name is no
// scope, with which a key has KeyRights.
func ParseScopes(names []string) (Rights, error) {
	var scopes Rights
	for _, name := range names {
		right, err := ParseRight(name)
		if err != nil || right&KeyRights == 0 {
			return 0, ErrBadRequest.New("No scope of API keys is named %.64q; there are %s", name,
				strings.Join(KeyRights.Names(), ", "))
		}
		scopes |= right
	}
	return scopes, nil
}

// Has reports whether all of the asked rights are in the set.
func (r Rights) Has(asked Rights) bool { return r&asked == asked }

// Names lists the rights' names in a fixed order.
func (r Rights) Names() []string {
	names := []string{}
	for i, name := range rightNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String joins the names by blanks.
func (r Rights) String() string { return strings.Join(r.Names(), " ") }

// Role is what a person is in a team.
type Role string

// The roles, each of which may what the next one may. Only operators make members so far, so an
// owner may no more than an admin.
const (
	RoleOwner     Role = "owner"
	RoleAdmin     Role = "admin"
	RoleDeveloper Role = "developer"
	RoleViewer    Role = "viewer"
)

// Rights returns what a role may do in its team; an unknown role may nothing.
func (r Role) Rights() Rights {
	const viewer = ReadSandboxes | ReadTemplates | ReadTeam | ReadSecrets
	// Whoever makes sandboxes decides where secrets go, so they may as well make them.
	const developer = viewer | WriteSandboxes | WriteTemplates | WriteSecrets
	switch r {
	case RoleOwner, RoleAdmin:
		return developer | WriteTeam | ReadKeys | WriteKeys | ReadAudit
	case RoleDeveloper:
		return developer
	case RoleViewer:
		return viewer
	}
	return 0
}
