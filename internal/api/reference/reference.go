// Package reference reads how clients name templates: [namespace/]name[:tag], in any case
// (api.md §4.7).
package reference

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// MaxName and MaxTag bound a namespace or name, and a tag, in characters.
const MaxName, MaxTag = 128, 128

// Reference is a parsed reference, in lower case. Namespace and Tag may be empty.
type Reference struct{ Namespace, Name, Tag string }

var (
	nameForm = regexp.MustCompile(`^[a-z0-9_-]+$`)
	tagForm  = regexp.MustCompile(`^[a-z0-9_.-]+$`)
)

// TagRule says what tags consist of, for those who tried something else.
const TagRule = "a tag has only letters, digits, -, _ and ."

const nameRule = "a name has only letters, digits, - and _"

// What is wrong with a reference. The words are E2B's (api.md §4.7).
var (
	// ErrName means that the name is not one.
	ErrName = errors.New("invalid template ID")
	// ErrTag means that the name is fine but its tag is not.
	ErrTag = errors.New("invalid tag")
)

// Parse checks the grammar. The error has no prefix, because callers name differently what
// they parse.
func Parse(text string) (Reference, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	var ref Reference
	rest, tag, tagged := strings.Cut(text, ":")
	if namespace, name, spaced := strings.Cut(rest, "/"); spaced {
		if len(namespace) > MaxName {
			return ref, fmt.Errorf("invalid namespace: it may have at most %d characters", MaxName)
		}
		if !nameForm.MatchString(namespace) {
			return ref, fmt.Errorf("invalid namespace: %s", namespace)
		}
		ref.Namespace, rest = namespace, name
	}
	switch {
	case rest == "":
		return ref, fmt.Errorf("%w: it is empty", ErrName)
	case len(rest) > MaxName:
		return ref, fmt.Errorf("%w: a name may have at most %d characters", ErrName, MaxName)
	case !nameForm.MatchString(rest):
		return ref, fmt.Errorf("%w: %s (%s)", ErrName, rest, nameRule)
	case tagged && tag == "":
		return ref, fmt.Errorf("%w: a tag is missing after ':'", ErrTag)
	case len(tag) > MaxTag:
		return ref, fmt.Errorf("%w: a tag may have at most %d characters", ErrTag, MaxTag)
	case tagged && !IsTag(tag):
		return ref, fmt.Errorf("%w: %s (%s)", ErrTag, tag, TagRule)
	}
	ref.Name, ref.Tag = rest, tag
	return ref, nil
}

// IsTag reports whether a text in lower case consists of what tags consist of.
func IsTag(text string) bool { return tagForm.MatchString(text) }

// String is the reference without its tag.
func (r Reference) String() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}
