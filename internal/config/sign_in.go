package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"shoal/internal/shoal"
)

// SignInIssuer is a provider at which people sign in by a browser.
type SignInIssuer struct {
	Issuer
	Name   string // on the button
	Client string
	Secret string
	Scopes []string
	Groups string // the claim that names groups
	// Roles are what members of a group are in teams: by group, then by slug.
	Roles map[string]map[string]shoal.Role
}

// ParseSignIn parses the settings sign-in-issuers, sign-in-secret and sign-in-groups.
func (c *Config) ParseSignIn() ([]SignInIssuer, error) {
	var list []SignInIssuer
	for _, address := range slices.Sorted(maps.Keys(c.SignInIssuers)) {
		one, err := parseSignInIssuer(address, c.SignInIssuers[address])
		if err != nil {
			return nil, fmt.Errorf("sign-in-issuers: %q %w", address, err)
		}
		one.Secret = c.SignInSecret[address]
		list = append(list, one)
	}
	for name := range c.SignInSecret {
		if c.SignInIssuers[name] == "" {
			return nil, fmt.Errorf("sign-in-secret: %q is no issuer of sign-in-issuers", name)
		}
	}
	for key, words := range c.SignInGroups {
		address, group, _ := strings.Cut(key, " ")
		at := slices.IndexFunc(list, func(one SignInIssuer) bool { return one.URL == address })
		if at < 0 || group == "" {
			return nil, fmt.Errorf("sign-in-groups: %q is not an issuer of sign-in-issuers and a group", key)
		}
		roles := map[string]shoal.Role{}
		for _, word := range strings.Fields(words) {
			slug, role, _ := strings.Cut(word, ":")
			if shoal.Role(role).Rights() == 0 || slug == "" {
				return nil, fmt.Errorf("sign-in-groups: %q is not TEAM:ROLE with a role owner, admin, developer or viewer", word)
			}
			roles[slug] = shoal.Role(role)
		}
		list[at].Roles[group] = roles
	}
	return list, nil
}

func parseSignInIssuer(address, words string) (SignInIssuer, error) {
	one := SignInIssuer{Issuer: Issuer{URL: address}, Name: address, Scopes: []string{"openid", "email"}, Groups: "groups",
		Roles: map[string]map[string]shoal.Role{}}
	for _, word := range strings.Fields(words) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "client":
			one.Client = value
		case "name":
			one.Name = value
		case "groups":
			one.Groups = value
		case "scopes":
			one.Scopes = strings.Split(value, ",")
		case "discovery":
			one.Discovery = value
		default:
			return one, fmt.Errorf("has the unknown word %q", word)
		}
	}
	switch {
	case one.Client == "":
		return one, errors.New("has no client=ID")
	case !slices.Contains(one.Scopes, "openid"):
		return one, errors.New("does not have the scope openid")
	}
	for _, a := range []string{one.URL, one.Discovery} {
		if a != "" && !isProvider(a) {
			return one, fmt.Errorf("has the address %q, which must be https:// and a host, or http:// and a loopback one", a)
		}
	}
	return one, nil
}

// RolesOf returns what somebody of these groups is in each team that the issuer's groups speak of;
// "" is nothing. Of several roles the highest counts.
func (s SignInIssuer) RolesOf(groups []string) map[string]shoal.Role {
	roles := map[string]shoal.Role{}
	for group, teams := range s.Roles {
		for slug, role := range teams {
			if !slices.Contains(groups, group) {
				role = ""
			}
			if have, ok := roles[slug]; !ok || rank(role) > rank(have) {
				roles[slug] = role
			}
		}
	}
	return roles
}

// rank orders roles; "" is the lowest.
func rank(role shoal.Role) int {
	return slices.Index([]shoal.Role{shoal.RoleViewer, shoal.RoleDeveloper, shoal.RoleAdmin, shoal.RoleOwner}, role)
}
