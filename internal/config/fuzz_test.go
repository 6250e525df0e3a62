package config

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzLoadFile holds a file that was accepted to mean the same when it is written again.
func FuzzLoadFile(f *testing.F) {
	for _, seed := range []string{"", "# comment\na = 1\n", "a=\"b\"\n", "a = \"", "a = \"\"x\"\"", "= x", "a\n", "a = ${b}", "a=1\na=2",
		"a = b = c\r\n", "\"a\" = # b", "a = \"#\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		loaded, err := LoadFile(strings.NewReader(text))
		if err != nil {
			return
		}
		values := loaded.(*fileResolver).values
		var again strings.Builder
		for name, value := range values {
			again.WriteString(name + " = \"" + value + "\"\n")
		}
		if again.Len() > 60<<10 {
			return // a line can be longer than what is read at once
		}
		reloaded, err := LoadFile(strings.NewReader(again.String()))
		if err != nil || !maps.Equal(values, reloaded.(*fileResolver).values) {
			t.Errorf("%q: %q, and written again %v (%v)", text, values, reloaded, err)
		}
	})
}

// FuzzSetting gives one setting as a flag, by the environment and in a file: all mean the
// same or are all refused, and what Check accepts can be used.
func FuzzSetting(f *testing.F) {
	settings := reflect.TypeFor[Config]()
	values := []string{"1", "true", "a,b", "10.0.0.0/8", "a=1;b=2", "http://a=http://b", "5s", "localhost:1", "-1", "auto"}
	for i := range settings.NumField() {
		f.Add(uint8(i), values[i%len(values)])
	}
	f.Fuzz(func(t *testing.T, index uint8, value string) {
		name := flagName(settings.Field(int(index) % settings.NumField()).Name)
		if value == "" || value != strings.TrimSpace(value) || strings.ContainsAny(value, "\x00\n\r\"") || strings.Contains(value, "${") {
			return // not every way can say it
		}
		path := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(path, []byte(name+" = "+value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		byFlag, flagErr := parse(t, "--"+name+"="+value)
		byFile, fileErr := parse(t, "--config", path)
		variable := EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		t.Setenv(variable, value)
		byEnv, envErr := parse(t)
		if (flagErr == nil) != (fileErr == nil) || (flagErr == nil) != (envErr == nil) {
			t.Fatalf("%s %q: flag %v, file %v, environment %v", name, value, flagErr, fileErr, envErr)
		}
		if flagErr != nil {
			return
		}
		if !reflect.DeepEqual(byFlag.Config, byFile.Config) || !reflect.DeepEqual(byFlag.Config, byEnv.Config) {
			t.Fatalf("%s %q: flag %q, file %q, environment %q", name, value, byFlag.Lines(), byFile.Lines(), byEnv.Lines())
		}
		if byFlag.Check() == nil {
			byFlag.Prefixes()
			if _, err := byFlag.Resolvers(); err != nil {
				t.Errorf("%s %q: accepted, but %v", name, value, err)
			}
		}
	})
}
