package image

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// aptOptions are the host's settings for fetching packages: proxies, certificates, retries.
// They are used for the bootstrap only, and not given to guests.
func aptOptions(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return nil // without apt, the defaults are used
	}
	return fetchOptions(string(out))
}

// fetchOptions picks the settings from the output of `apt-config dump`, which has one per
// line.
func fetchOptions(dump string) []string {
	var options []string
	for _, line := range strings.Split(dump, "\n") {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, ";"), " ")
		name = strings.ToLower(name)
		if value == "" || value == `""` {
			continue
		}
		for _, prefix := range []string{"acquire::http::", "acquire::https::", "acquire::retries",
			"acquire::forceipv"} {
			if strings.HasPrefix(name, prefix) {
				options = append(options, strings.TrimSuffix(line, ";"))
			}
		}
	}
	return options
}

// hostSources returns the host's own package sources for the suite. If the host runs
// another suite there are none, and mmdebstrap uses Debian's.
func hostSources() []string {
	var lines []string
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, file := range append([]string{"/etc/apt/sources.list"}, files...) {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if strings.HasSuffix(file, ".sources") {
			lines = append(lines, deb822Sources(string(data))...)
		} else if strings.HasSuffix(file, ".list") {
			lines = append(lines, oneLineSources(string(data))...)
		}
	}
	return lines
}

var (
	oneLine    = regexp.MustCompile(`^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)$`)
	signedBy   = regexp.MustCompile(`(?:^|\s)signed-by=(/\S+)`)
	stanzaEnds = regexp.MustCompile(`\n\s*\n`)
)

func oneLineSources(text string) []string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		m := oneLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !isOfSuite(m[3]) || !hasWord(m[4], "main") {
			continue
		}
		key := ""
		if k := signedBy.FindStringSubmatch(m[1]); k != nil {
			key = k[1]
		}
		lines = append(lines, source(m[2], m[3], key))
	}
	return lines
}

func deb822Sources(text string) []string {
	var lines []string
	for _, stanza := range stanzaEnds.Split(text, -1) {
		field := map[string]string{}
		for _, line := range strings.Split(stanza, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
				field[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
			}
		}
		if !hasWord(field["types"], "deb") || !hasWord(field["components"], "main") ||
			field["enabled"] == "no" {
			continue
		}
		for _, uri := range strings.Fields(field["uris"]) {
			for _, s := range strings.Fields(field["suites"]) {
				if isOfSuite(s) {
					lines = append(lines, source(uri, s, field["signed-by"]))
				}
			}
		}
	}
	return lines
}

// source returns one line of sources.list. A key is only named if it is a file; mmdebstrap
// finds others like apt does.
func source(uri, suite, key string) string {
	if strings.HasPrefix(key, "/") && !strings.ContainsAny(key, " ]") {
		return "deb [signed-by=" + key + "] " + uri + " " + suite + " main"
	}
	return "deb " + uri + " " + suite + " main"
}

func isOfSuite(s string) bool {
	return s == suite || s == suite+"-updates" || s == suite+"-security"
}

func hasWord(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if w == word {
			return true
		}
	}
	return false
}
