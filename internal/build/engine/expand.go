package engine

import (
	"maps"
	"strings"

	"shoal/internal/shoal"
)

const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// expand replaces $NAME, ${NAME}, ${NAME:-word}, ${NAME-word}, ${NAME:+word} and
// ${NAME+word} as a shell does. Everything else, including quotes and $(…), stays as it is
// (templates.md §3.5). Libraries that expand as a shell
// does read the quotes, too.
func expand(text string, env map[string]string) string {
	known := map[string]string{"PATH": standardPath, "HOME": "/root"}
	maps.Copy(known, env)
	return substitute(text, known)
}

func substitute(text string, known map[string]string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		v, length := readVariable(rest)
		if length == 0 {
			out.WriteByte('$')
		} else {
			out.WriteString(v.value(known))
		}
		text = rest[length:]
	}
}

// variable is one use of a variable in a text.
type variable struct {
	name     string
	operator string // ":-", "-", ":+", "+", or "" without a word
	word     string
}

// value returns the replacement. A word may contain variables itself.
func (v variable) value(known map[string]string) string {
	value, set := known[v.name]
	if strings.HasPrefix(v.operator, ":") {
		set = value != "" // with a colon, an empty value counts as unset
	}
	switch {
	case v.operator == "":
		return value
	case strings.HasSuffix(v.operator, "+") == set:
		return substitute(v.word, known)
	case set:
		return value
	}
	return ""
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
	for _, v.operator = range []string{":-", "-", ":+", "+"} {
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

// stepEnv is the environment of a step's commands: the operator's settings for builds,
// overridden by what the template has set.
func (e *Engine) stepEnv(c shoal.BuildContext) map[string]string {
	env := maps.Clone(e.cfg.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, c.Env)
	return withStandardPath(env)
}

// withStandardPath appends the system's directories to a PATH that the template has set.
func withStandardPath(env map[string]string) map[string]string {
	if path, ok := env["PATH"]; ok && !strings.Contains(path, standardPath) {
		env["PATH"] = path + ":" + standardPath
	}
	return env
}
