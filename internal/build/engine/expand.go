package engine

import (
	"maps"
	"strings"

	"shoal/internal/shoal"
)

const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// expand replaces $NAME and ${NAME} by what a step's shell would know; all else,
// quotes and $(…) included, stays as it is (templates.md §3.5).
func expand(text string, env map[string]string) string {
	known := map[string]string{"PATH": standardPath, "HOME": "/root"}
	maps.Copy(known, env)
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, length := variable(rest)
		if length == 0 {
			out.WriteByte('$')
		} else {
			out.WriteString(known[name])
		}
		text = rest[length:]
	}
}

// variable reads a name, or one in braces, at the beginning of a text. A length of 0
// says that there is none.
func variable(text string) (name string, length int) {
	if inside, braced := strings.CutPrefix(text, "{"); braced {
		name, _, closed := strings.Cut(inside, "}")
		if !closed || name == "" || nameLength(name) != len(name) {
			return "", 0
		}
		return name, len(name) + 2
	}
	n := nameLength(text)
	return text[:n], n
}

// nameLength counts the bytes at the beginning that can be a variable's name.
func nameLength(text string) int {
	for i, c := range []byte(text) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(text)
}

// stepEnv is what a step's commands get: the operator's settings for builds, and over
// them what the template has set.
func (e *Engine) stepEnv(c shoal.BuildContext) map[string]string {
	env := maps.Clone(e.cfg.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, c.Env)
	return withStandardPath(env)
}

// withStandardPath appends the system's directories to a PATH that was set.
func withStandardPath(env map[string]string) map[string]string {
	if path, ok := env["PATH"]; ok && !strings.Contains(path, standardPath) {
		env["PATH"] = path + ":" + standardPath
	}
	return env
}
