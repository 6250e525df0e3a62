package variables

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzExpand compares with the simplest way to say what $NAME means, where a text has no
// braces; what braces hold may use variables, but values never do, unless they are cut.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"", "$", "$$", "$A", "${A}", "$A$EMPTY$NONE", "a$1b", "${NONE:-$A}", "${A:+${NONE-x}}", "${", "${A",
		"${A:?x}", "${}", "$(A)", `'$A' "\$A"`, "${A:-${A:-${A:-", "${EMPTY-x}${EMPTY:-x}", "$ä", "$PATH:$HOME",
		"${A#*/}", "${A%%[!a]?}", "${A//\\//${A}}", "${A/[/]/}", "${A##${A%a}}"} {
		f.Add(seed, "a")
		f.Add(seed, "$A ${A}")
	}
	simple := regexp.MustCompile(`\$[A-Za-z_][A-Za-z0-9_]*`)
	operated := regexp.MustCompile(`\$\{\w*[#%/]`) // cuts its value
	f.Fuzz(func(t *testing.T, text, value string) {
		env := map[string]string{"A": value, "EMPTY": ""}
		got, err := Expand(text, env)
		if err != nil {
			return
		}
		if !strings.Contains(text, "${") {
			known := map[string]string{"A": value, "PATH": StandardPath, "HOME": "/root"}
			want := simple.ReplaceAllStringFunc(text, func(use string) string { return known[use[1:]] })
			if got != want {
				t.Errorf("%q with A=%q is %q, want %q", text, value, got, want)
			}
		}
		// A value goes in as it is: a mark in its place can be replaced afterwards.
		const mark = "\x00"
		if value != "" && !strings.Contains(text, mark) && !operated.MatchString(text) {
			marked, _ := Expand(text, map[string]string{"A": mark, "EMPTY": ""})
			if want := strings.ReplaceAll(marked, mark, value); got != want {
				t.Errorf("%q with A=%q is %q, want %q", text, value, got, want)
			}
		}
	})
}
