package shoal

import (
	"fmt"
	"regexp"
	"strings"
)

// EgressProxy is the SOCKS5 proxy of a tenant's own that a sandbox's connections go through.
type EgressProxy struct {
	Address  string    `json:"address"` // host:port
	Username string    `json:"username,omitempty"`
	Password string    `json:"password,omitempty"` // never shown
	TLS      *ProxyTLS `json:"tls,omitempty"`      // nil: the proxy is spoken to in the clear
}

// ProxyTLS is how a tenant's proxy is known (clients-2.63.md §3.4).
type ProxyTLS struct {
	ServerName string `json:"serverName,omitempty"` // empty: the host of the address
	CACert     string `json:"caCert,omitempty"`     // PEM, instead of the host's roots; never shown
}

// Transform is what is done to the requests to one domain.
type Transform struct {
	// Headers are set, in place of those that the guest sent. Values may have placeholders.
	Headers map[string]string `json:"headers,omitempty"`
}

// WorkloadToken is a token of a sandbox's identity, as its creator asked for it.
type WorkloadToken struct {
	Audience string `json:"audience"`
	Type     string `json:"tokenType"` // JWT-SVID
}

// Placeholder stands in the value of a header for what is filled in when a request leaves the
// machine.
type Placeholder struct {
	Kind PlaceholderKind
	Name string // of a secret in lower case; of a workload token as its sandbox names it
}

// PlaceholderKind is what a placeholder stands for.
type PlaceholderKind string

// Both kinds, by the prefix that clients write.
const (
	PlaceholderSecret PlaceholderKind = "secrets"
	PlaceholderToken  PlaceholderKind = "identity.tokens"
)

// String is the placeholder as clients write it.
func (p Placeholder) String() string { return fmt.Sprintf("${e2b.%s.%s}", p.Kind, p.Name) }

var placeholder = regexp.MustCompile(`\$\{e2b\.(secrets|identity\.tokens)\.([^${}\x00-\x1f\x7f]{1,128})\}`)

// ParsePlaceholders lists the placeholders of a header's value, in their order. Whatever begins
// as one and is none is ErrBadRequest.
func ParsePlaceholders(value string) ([]Placeholder, error) {
	if strings.Contains(placeholder.ReplaceAllLiteralString(value, ""), "${e2b.") {
		return nil, ErrBadRequest.New("Network transform header contains a malformed E2B placeholder.")
	}
	var found []Placeholder
	for _, match := range placeholder.FindAllStringSubmatch(value, -1) {
		found = append(found, newPlaceholder(match[1], match[2]))
	}
	return found, nil
}

// FillPlaceholders puts values in the places of a header's placeholders. One without a value
// stays as it is.
func FillPlaceholders(value string, values map[Placeholder]string) string {
	return placeholder.ReplaceAllStringFunc(value, func(text string) string {
		match := placeholder.FindStringSubmatch(text)
		if filled, ok := values[newPlaceholder(match[1], match[2])]; ok {
			return filled
		}
		return text
	})
}

func newPlaceholder(kind, name string) Placeholder {
	p := Placeholder{Kind: PlaceholderKind(kind), Name: name}
	if p.Kind == PlaceholderSecret {
		p.Name = strings.ToLower(name)
	}
	return p
}
