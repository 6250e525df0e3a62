package access

import (
	"strings"
	"testing"

	"shoal/internal/envdapi"
)

// FuzzEnvironment: what the node states is read as it was stated, whatever else the
// environment has and however the kernel separates it.
func FuzzEnvironment(f *testing.F) {
	f.Add("i1", "base", "PATH=/bin", true)
	f.Add("i1", "a=b", "", false)
	f.Add("", "t", "=", true)
	f.Fuzz(func(t *testing.T, sandbox, template, more string, nul bool) {
		separator := "\n"
		if nul {
			separator = "\x00"
		}
		if strings.ContainsAny(sandbox+template+more, "\x00\r\n") || strings.Contains(more, "E2B_") || strings.Contains(more, "SHOAL_") {
			return // no variable has these
		}
		facts := envdapi.Facts{Sandbox: "true", SandboxID: sandbox, TemplateID: template, BootHash: "00ff"}
		text := strings.Join(append(facts.Environ(), more), separator) + separator
		vars := parseEnvironment([]byte(text))
		if got := envdapi.ReadFacts(func(key string) string { return vars[key] }); got != facts {
			t.Errorf("%q was read as %+v, want %+v", text, got, facts)
		}
	})
}
