package config

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// LoadFile reads lines of "name = value" for kong, with the names of the flags. Lines that
// start with "#" are comments, and values may be quoted. A value with "${" is an error,
// because variables are not expanded and it would silently mean something else.
func LoadFile(r io.Reader) (kong.Resolver, error) {
	values := map[string]string{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("line %d: want name = value, got %q", n, line)
		}
		name, value = strings.TrimSpace(name), unquote(strings.TrimSpace(value))
		if strings.Contains(value, "${") {
			return nil, fmt.Errorf("line %d: %s contains \"${\", and variables are not expanded here", n, name)
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("line %d: %s is set twice", n, name)
		}
		values[name] = value
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return &fileResolver{values: values}, nil
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

type fileResolver struct{ values map[string]string }

var _ kong.Resolver = (*fileResolver)(nil)

// Validate refuses names that are not flags, so that typing errors are noticed.
func (f *fileResolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		known[flag.Name] = true
	}
	for name := range f.values {
		if !known[name] {
			return fmt.Errorf("configuration file: no setting is named %q", name)
		}
	}
	return nil
}

// Resolve returns the file's value of a flag, or nil. It is nil if the environment sets
// the flag, because kong would otherwise prefer the file.
func (f *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	if value, ok := f.values[flag.Name]; ok {
		return value, nil
	}
	return nil, nil
}
