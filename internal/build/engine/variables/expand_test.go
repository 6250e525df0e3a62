package variables

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "one", "LONG_1": "$A", "EMPTY": "", "V": "v1.22.3", "D": "/usr/lib/ö*",
		"LONG": strings.Repeat("x", 1<<16)}
	for in, want := range map[string]string{
		"":                        "",
		"$A-${A}":                 "one-one",
		"${PATH}:/my/path":        StandardPath + ":/my/path",
		"$HOME/x":                 "/root/x",
		"$LONG_1":                 "$A", // expanded only once
		"$UNKNOWN.":               ".",
		"$(id) `id` \\$A 'x\"":    "$(id) `id` \\one 'x\"",
		"$ $$ $1 ${A ${A:-b} ${}": "$ $$ $1 ${A one ${}",
		"a\nb$":                   "a\nb$",

		"${NO:-b}${NO-b}${NO:+b}${NO+b}|":             "bb|",
		"${A:-b}${A-b}${A:+b}${A+b}|":                 "oneonebb|",
		"${EMPTY:-b}${EMPTY-b}${EMPTY:+b}${EMPTY+b}|": "bb|",
		"/lib${NO:+:$NO}:${A:+$A:}x":                  "/lib:one:x",
		"${NO:-$A/${A}/$NO}":                          "one/one/",
		"${NO:-${NONE:-${A}}}}":                       "one}",
		"${NO:-{x}}":                                  "{x}", // a brace without a $ opens nothing
		"${NO:-a-b:+c}${NO:-}${NO-}":                  "a-b:+c",
		"${NO:-$LONG_1}":                              "$A",
		"${NO:-'$A' $(id)}":                           "'one' $(id)",
		"${NO:-b ${A":                                 "${NO:-b ${A", // never closed
		"${A:=b}${#A}${A:1}${!A}${:-b}${A:%b}":        "${A:=b}${#A}${A:1}${!A}${:-b}${A:%b}",

		"${A:?b}${A?}${EMPTY?b}":                           "oneone",
		"${V#*.}|${V##*.}|${V%.*}|${V%%.*}":                "22.3|3|v1.22|v1",
		"${V#v}|${V#x}|${V%}|${V#?[0-9]}|${V#[!a-z]}":      "1.22.3|v1.22.3|v1.22.3|.22.3|v1.22.3",
		"${V/2/x}|${V//2/x}|${V//[.v]}|${V/./${A}/}":       "v1.x2.3|v1.xx.3|1223|v1one/22.3",
		"${D%/*}|${D##*/}|${D//\\//-}|${D/\\*/x}|${D#\\/}": "/usr/lib|ö*|-usr-lib-ö*|/usr/lib/öx|usr/lib/ö*",
		"${D%?}|${D%??}|${D%[*]}|${D%[}|${D#/*/}":          "/usr/lib/ö|/usr/lib/|/usr/lib/ö|/usr/lib/ö*|lib/ö*",
		"${V%${V#v1}}|${NO#x}|${V//*/x}|${V/v*2/x}":        "v1||x|x.3",
	} {
		if got, err := Expand(in, env); got != want || err != nil {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"${NO:?needs $A}":                          "NO: needs one",
		"${EMPTY:?}":                               "EMPTY: the variable is empty",
		"${A#" + strings.Repeat("x", 1025) + "}":   "longer than 1024 bytes",
		strings.Repeat("${LONG#*a*b*c*d*}", 1<<10): "too many",
	} {
		if got, err := Expand(in, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %q %v, want %q", in, got, err, want)
		}
	}
}
