package api

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// Bounds of rules (api.md §3.1). Lengths are in bytes.
const (
	maxRuleDomains    = 10
	maxRuleDomain     = 128
	maxRuleHeaders    = 20
	maxRuleHeaderName = 64
	maxRuleHeader     = 2048
	maxRuleSecrets    = 32 // of one domain
)

// parseRules checks network.rules. The domains are returned in lower case.
func parseRules(rules *gen.NetworkRules) (map[string]shoal.Transform, error) {
	if rules == nil || len(*rules) == 0 {
		return nil, nil
	}
	if len(*rules) > maxRuleDomains {
		return nil, shoal.ErrBadRequest.New("Network rules can have at most %d domains.", maxRuleDomains)
	}
	transforms := make(map[string]shoal.Transform, len(*rules))
	for _, written := range slices.Sorted(maps.Keys(*rules)) {
		domain := strings.ToLower(written)
		if err := checkRuleDomain(domain, written); err != nil {
			return nil, err
		}
		if _, twice := transforms[domain]; twice {
			return nil, shoal.ErrBadRequest.New("Rule domain %q is there twice.", domain)
		}
		list := (*rules)[written]
		if len(list) > 1 {
			return nil, shoal.ErrBadRequest.New("Domain %q can have at most 1 transform rule.", written)
		}
		var headers map[string]string
		if len(list) == 1 && list[0].Transform != nil {
			headers = deref(list[0].Transform.Headers)
		}
		if err := checkRuleHeaders(written, headers); err != nil {
			return nil, err
		}
		transforms[domain] = shoal.Transform{Headers: headers}
	}
	return transforms, nil
}

// ruleDomain is a DNS name, or a wildcard for all names below one. The last label of a name has a
// letter, so that it is no IP address.
var ruleDomain = regexp.MustCompile(
	`^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

var numericLabel = regexp.MustCompile(`(^|\.)[0-9]+$`)

func checkRuleDomain(domain, written string) error {
	switch {
	case domain == "":
		return shoal.ErrBadRequest.New("Rule domain must not be empty.")
	case len(domain) > maxRuleDomain:
		return shoal.ErrBadRequest.New("Rule domain %q exceeds maximum length of %d characters.", written, maxRuleDomain)
	case !ruleDomain.MatchString(domain) || numericLabel.MatchString(domain):
		return shoal.ErrBadRequest.New("Rule domain %q is not a valid domain name.", written)
	}
	return nil
}

// connectionHeaders belong to a connection or to the framing of a request, and are not the
// transform's to say.
var connectionHeaders = map[string]bool{"connection": true, "content-length": true, "expect": true, "host": true,
	"http2-settings": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true,
	"proxy-connection": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true}

func checkRuleHeaders(domain string, headers map[string]string) error {
	if len(headers) > maxRuleHeaders {
		return shoal.ErrBadRequest.New("Domain %q can have at most %d headers per rule.", domain, maxRuleHeaders)
	}
	secrets, names := map[string]bool{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if err := checkRuleHeader(domain, name, headers[name]); err != nil {
			return err
		}
		lower := strings.ToLower(name)
		if names[lower] {
			return shoal.ErrBadRequest.New("Header name %q in rule for domain %q is there twice.", lower, domain)
		}
		names[lower] = true
		found, err := shoal.ParsePlaceholders(headers[name])
		if err != nil {
			return err
		}
		for _, p := range found {
			if p.Kind == shoal.PlaceholderSecret {
				secrets[p.Name] = true
			}
		}
	}
	if len(secrets) > maxRuleSecrets {
		return shoal.ErrBadRequest.New("Domain %q can refer to at most %d secrets.", domain, maxRuleSecrets)
	}
	return nil
}

func checkRuleHeader(domain, name, value string) error {
	switch {
	case name == "":
		return shoal.ErrBadRequest.New("Header name in rule for domain %q must not be empty.", domain)
	case len(name) > maxRuleHeaderName:
		return shoal.ErrBadRequest.New("Header name %q in rule for domain %q exceeds maximum length of %d characters.",
			name, domain, maxRuleHeaderName)
	case !httpguts.ValidHeaderFieldName(name):
		return shoal.ErrBadRequest.New("Header name %q in rule for domain %q must contain only valid HTTP token characters.",
			name, domain)
	case connectionHeaders[strings.ToLower(name)]:
		return shoal.ErrBadRequest.New("Header name %q in rule for domain %q is one that a transform cannot set.",
			name, domain)
	case len(value) > maxRuleHeader:
		return shoal.ErrBadRequest.New("Value for header %q in rule for domain %q exceeds maximum length of %d characters.",
			name, domain, maxRuleHeader)
	case !httpguts.ValidHeaderFieldValue(value):
		return shoal.ErrBadRequest.New("Value for header %q in rule for domain %q contains invalid characters.", name, domain)
	}
	return nil
}

// firstTransforms is the first version of the daemon that takes an authority.
var firstTransforms = []int{0, 5, 13}

// allowTransforms refuses rules that the team, the sandbox's daemon or its tokens are not for.
func (s *Server) allowTransforms(ctx context.Context, spec shoal.Spec, transforms map[string]shoal.Transform) error {
	if len(transforms) == 0 {
		return nil
	}
	if !atLeast(spec.EnvdVersion, firstTransforms...) {
		return shoal.ErrBadRequest.New("Network transform rules need a template that was built with a newer envd. " +
			"Build it again on this installation.")
	}
	for _, t := range transforms {
		for _, value := range t.Headers {
			found, err := shoal.ParsePlaceholders(value)
			if err != nil {
				return err
			}
			for _, p := range found {
				if _, known := spec.WorkloadTokens[p.Name]; p.Kind == shoal.PlaceholderToken && !known {
					return shoal.ErrBadRequest.New("Network transform header refers to the token %q, which iam.tokens does not have.",
						p.Name)
				}
			}
		}
	}
	err := s.allow(ctx, shoal.SwitchTransforms)
	var off *shoal.Error
	if errors.As(err, &off) && off.Kind == shoal.ErrSwitchedOff {
		return shoal.ErrFeatureOption.New("Network transform rules are not available for your team.")
	}
	return err
}

// wireRules shows rules as they were sent, but for the case of domains; nil if there are none.
func wireRules(transforms map[string]shoal.Transform) *gen.NetworkRules {
	if len(transforms) == 0 {
		return nil
	}
	rules := make(gen.NetworkRules, len(transforms))
	for domain, t := range transforms {
		var rule gen.NetworkRule
		if len(t.Headers) > 0 {
			headers := gen.StringMap(t.Headers)
			rule.Transform = &gen.NetworkTransform{Headers: &headers}
		}
		rules[domain] = []gen.NetworkRule{rule}
	}
	return &rules
}
