package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Issuer is a provider whose tokens let users in.
type Issuer struct {
	URL       string
	Discovery string // "" is its well-known address
	Audiences []string
}

// discoveryOption marks the one word of an issuer's setting that is no audience.
const discoveryOption = "discovery="

// Issuers parses JWTIssuers.
func (c *Config) Issuers() ([]Issuer, error) {
	var list []Issuer
	for _, name := range slices.Sorted(maps.Keys(c.JWTIssuers)) {
		issuer := Issuer{URL: name}
		for _, word := range strings.Fields(c.JWTIssuers[name]) {
			if address, ok := strings.CutPrefix(word, discoveryOption); ok {
				issuer.Discovery = address
				continue
			}
			issuer.Audiences = append(issuer.Audiences, word)
		}
		if len(issuer.Audiences) == 0 {
			return nil, fmt.Errorf("%q names no audience; a token for any other service would let its user in", name)
		}
		for _, address := range []string{issuer.URL, issuer.Discovery} {
			if address != "" && !isProvider(address) {
				return nil, fmt.Errorf("%q must be https:// and a host, or http:// and a loopback one", address)
			}
		}
		list = append(list, issuer)
	}
	return list, nil
}

// isProvider reports whether an address is one at which nobody else can answer.
func isProvider(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}
