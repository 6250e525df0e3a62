package engine

import (
	"maps"
	"strings"

	"shoal/internal/build"
	"shoal/internal/build/engine/variables"
	"shoal/internal/shoal"
)

// expand expands a text of the template by the variables so far.
func (r *run) expand(text string) (string, error) { return expand(text, r.context.Env) }

// expand is variables.Expand, whose errors are the template's failures.
func expand(text string, env map[string]string) (string, error) {
	out, err := variables.Expand(text, env)
	if err != nil {
		return "", &build.Failure{Message: err.Error()}
	}
	return out, nil
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
	if path, ok := env["PATH"]; ok && !strings.Contains(path, variables.StandardPath) {
		env["PATH"] = path + ":" + variables.StandardPath
	}
	return env
}
