// Package variables replaces uses of variables in the texts of a template, as Dockerfiles do.
package variables

import (
	"errors"
	"fmt"
	"strings"
)

// StandardPath is the PATH of a build that sets none.
const StandardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Expand replaces $NAME and ${NAME}, also with the operators of Dockerfiles (see operators),
// as a shell does. Everything else, including quotes and $(…), stays as it is
// (templates.md §3.5, clients-2.63.md §6.2). Libraries that expand as a shell does read the
// quotes, too. What is wrong with a text is an error that its author understands.
func Expand(text string, env map[string]string) (string, error) {
	e := expansion{env: env}
	if e.add(text); e.failure != nil {
		return "", e.failure
	}
	return e.out.String(), nil
}

const (
	// MaxSize bounds the variables of a build in all, and what one text becomes, in
	// bytes. It is the bound of a request, which texts without variables cannot exceed.
	MaxSize = 16 << 20
	// maxSearch bounds the bytes that are read to find the ends of uses in braces: each may
	// look for its end in all that follows.
	maxSearch = 1 << 30
)

// errTooMuch is the failure of a text beyond a bound. Without bounds, a few steps that each
// double a variable would fill the machine's memory.
var errTooMuch = fmt.Errorf("a text becomes longer than %d MiB by its variables, or has too many of them", MaxSize>>20)

// expansion is what a text becomes.
type expansion struct {
	env      map[string]string
	out      strings.Builder
	searched int // bytes, see maxSearch
	matched  int // see maxMatching
	failure  error
}

func (e *expansion) add(text string) {
	for e.failure == nil {
		before, rest, found := strings.Cut(text, "$")
		e.write(before)
		if !found {
			return
		}
		v, length := readVariable(rest)
		if strings.HasPrefix(rest, "{") {
			if e.searched += len(rest); e.searched > maxSearch {
				e.failure = errTooMuch
			}
		}
		if length > 0 {
			e.addValue(v)
		} else {
			e.write("$")
		}
		text = rest[length:]
	}
}

func (e *expansion) write(text string) {
	switch {
	case e.failure != nil:
	case e.out.Len()+len(text) > MaxSize:
		e.failure = errTooMuch
	default:
		e.out.WriteString(text)
	}
}

// lookup returns a variable of the build, or one that every build has.
func (e *expansion) lookup(name string) (value string, set bool) {
	if value, set = e.env[name]; set {
		return value, true
	}
	switch name {
	case "PATH":
		return StandardPath, true
	case "HOME":
		return "/root", true
	}
	return "", false
}

// variable is one use of a variable in a text.
type variable struct {
	name     string
	operator string // one of operators, or "" without a word
	word     string
}

// operators are those that newer SDKs leave in what they make of a Dockerfile: a word for a
// variable that is not set, or for one that is; a failure; patterns to cut from the
// beginning or the end; and a pattern to replace. Longer ones come before their beginnings.
var operators = []string{":-", "-", ":+", "+", ":?", "?", "##", "#", "%%", "%", "//", "/"}

// addValue adds the replacement of a use. A word may contain variables itself.
func (e *expansion) addValue(v variable) {
	value, set := e.lookup(v.name)
	if strings.HasPrefix(v.operator, ":") {
		set = value != "" // with a colon, an empty value counts as unset
	}
	switch strings.TrimPrefix(v.operator, ":") {
	case "":
		e.write(value)
	case "-", "?":
		switch {
		case set:
			e.write(value)
		case v.operator == "-" || v.operator == ":-":
			e.add(v.word)
		default:
			e.missing(v)
		}
	case "+":
		if set {
			e.add(v.word)
		}
	default:
		e.addMatched(value, v)
	}
}

// missing fails with the message that a text has for a variable that is not set.
func (e *expansion) missing(v variable) {
	message := e.sub(v.word)
	if e.failure != nil {
		return
	}
	if message == "" {
		message = "the variable is empty or not set"
	}
	e.failure = errors.New("failed to expand '${" + v.name + v.operator + v.word + "}': " + v.name + ": " + message)
}

// sub expands a text that is not part of the outcome.
func (e *expansion) sub(text string) string {
	inner := expansion{env: e.env, searched: e.searched, matched: e.matched}
	inner.add(text)
	e.searched, e.matched, e.failure = inner.searched, inner.matched, inner.failure
	return inner.out.String()
}

// readVariable reads a name, or an expression in braces, at the beginning of a text that
// follows a $. A length of 0 means that there is none.
func readVariable(text string) (v variable, length int) {
	inside, braced := strings.CutPrefix(text, "{")
	n := nameLength(inside)
	v.name = inside[:n]
	if !braced {
		return v, n
	}
	end := closing(inside)
	if end < 0 || n == 0 {
		return variable{}, 0
	}
	rest := inside[n:end]
	for _, v.operator = range operators {
		if word, found := strings.CutPrefix(rest, v.operator); found {
			v.word = word
			return v, end + len("{}")
		}
	}
	if v.operator = ""; rest != "" {
		return variable{}, 0
	}
	return v, end + len("{}")
}

// closing returns the index of the brace that closes an open ${, skipping nested ones, or
// -1.
func closing(inside string) int {
	depth := 1
	for i := 0; i < len(inside); i++ {
		switch {
		case strings.HasPrefix(inside[i:], "${"):
			depth++
			i++
		case inside[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// nameLength returns how many bytes at the beginning form a variable's name.
func nameLength(text string) int {
	for i, c := range []byte(text) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(text)
}
