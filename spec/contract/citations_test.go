package contract_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.." // of the repository

// TestCitations: every citation in the repository leads to a section or row of the contract.
func TestCitations(t *testing.T) {
	contract := readContract(t)
	found := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && skipped(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains(sourceFiles, filepath.Ext(name)) || name == "citations_test.go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		within := ""
		if filepath.Dir(path) == filepath.Join(root, "spec", "contract") {
			within = name
		}
		citations, wrong := check(string(text), within, contract)
		found += citations
		for _, w := range wrong {
			t.Errorf("%s: %s", strings.TrimPrefix(path, root+"/"), w)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// A check that finds nothing to check is broken.
	if found < 100 {
		t.Errorf("found %d citations, which are far too few", found)
	}
}

var sourceFiles = []string{"", ".go", ".js", ".json", ".md", ".mjs", ".proto", ".py", ".sh", ".sql", ".toml", ".ts", ".yaml", ".yml"}

// skipped directories hold what is not ours or what is built.
func skipped(name string) bool {
	if name == ".ci" || name == ".github" {
		return false
	}
	return strings.HasPrefix(name, ".") || name == "bin" || name == "assets" || name == "node_modules" || name == "__pycache__"
}

// sections are the numbers of a file's headings ("3.1") and the names of its rows ("D25").
type sections map[string]bool

var (
	heading = regexp.MustCompile(`(?m)^#+ (\d+(?:\.\d+)*)\.? `)
	row     = regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \|`)
)

func readContract(t *testing.T) map[string]sections {
	t.Helper()
	names, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	contract := map[string]sections{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		contract[name] = parse(string(text))
	}
	return contract
}

func parse(text string) sections {
	all := sections{}
	for _, pattern := range []*regexp.Regexp{heading, row} {
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			all[m[1]] = true
		}
	}
	return all
}

var (
	// A file's name, a section or the rest of a range of sections, or a row of a table of differences.
	token = regexp.MustCompile("`?([a-z][a-z0-9.-]*\\.md)`?|§(\\d+(?:\\.\\d+)*)(?:[–-](\\d+(?:\\.\\d+)*))?|§|\\b([A-Z]\\d+)\\b")
	// What may stand between a file's name and its sections: spaces, the mark of a comment that goes on
	// in the next line, and the words and signs of a list.
	joint = regexp.MustCompile(`^(?:\s|//|#|\*|,|;|–|-|/|\band\b|\bto\b|\bor\b)*$`)
)

// check looks at every citation of a text; within is the file of the contract that the text is, or "".
// It returns how many there are and what is wrong with them.
func check(text, within string, contract map[string]sections) (count int, wrong []string) {
	file, end := within, 0 // the file that a section belongs to, and where what named it ends
	for _, m := range token.FindAllStringSubmatchIndex(text, -1) {
		group := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return text[m[2*i]:m[2*i+1]]
		}
		if !joint.MatchString(text[end:m[0]]) {
			file = within
		}
		line := 1 + strings.Count(text[:m[0]], "\n")
		if name := group(1); name != "" {
			file, end = name, m[1]
			continue
		}
		cited := group(4)
		if cited == "" {
			cited = group(2)
		} else if file == within || contract[file] == nil {
			continue // a word such as "E2" or "D1" outside of any citation
		}
		end = m[1]
		count++
		switch {
		case cited == "":
			wrong = append(wrong, fmt.Sprintf("line %d: § without a number", line))
		case file == "":
			wrong = append(wrong, fmt.Sprintf("line %d: §%s of which file?", line, cited))
		case contract[file] == nil:
			wrong = append(wrong, fmt.Sprintf("line %d: %s is no file of the contract", line, file))
		default:
			for _, section := range []string{cited, group(3)} {
				if section != "" && !contract[file][section] {
					wrong = append(wrong, fmt.Sprintf("line %d: %s has no %s", line, file, section))
				}
			}
		}
	}
	return count, wrong
}

// TestCheck: the check sees what is wrong in a made-up text.
func TestCheck(t *testing.T) {
	contract := map[string]sections{
		"api.md":       parse("# Title\n## 1. One\n### 1.2 Two\n#### 1.2.3 Three\n## 4. Four\n| D25 | row |\n"),
		"runtime-2.md": parse("## 2. Two\n### 2.3 Three\n### 2.4 Four\n"),
	}
	for _, c := range []struct {
		text, within string
		count        int
		wrong        string // "" if all is well
	}{
		{text: "// as api.md §1.2 says", count: 1},
		{text: "// (api.md §1, §1.2, §1.2.3; runtime-2.md §2)", count: 4},
		{text: "// (runtime-2.md §2.3–2.4)", count: 1},
		{text: "// runtime-2.md §2.3 to §2.4, api.md §4.", count: 3},
		{text: "// see (api.md\n// §1.2) and `api.md` §4", count: 2},
		{text: "\t# api.md §1.2\n\t# and §4", count: 2},
		{text: "// api.md D25 of D1 and E2B", count: 1},
		{text: "§1.2 and runtime-2.md §2.3, but §4", within: "api.md", count: 3},
		{text: "no citation: docs/other.md, D1"},

		{text: "// api.md §1.3", count: 1, wrong: "line 1: api.md has no 1.3"},
		{text: "// api.md §1, §9", count: 2, wrong: "line 1: api.md has no 9"},
		{text: "\n// runtime-2.md §2.3–2.9", count: 1, wrong: "line 2: runtime-2.md has no 2.9"},
		{text: "// api.md D26", count: 1, wrong: "line 1: api.md has no D26"},
		{text: "// gone.md §1", count: 1, wrong: "line 1: gone.md is no file of the contract"},
		{text: "// see §1.2", count: 1, wrong: "line 1: §1.2 of which file?"},
		{text: "// api.md §1.2, the architecture §4", count: 2, wrong: "line 1: §4 of which file?"},
		{text: "// api.md §", count: 1, wrong: "line 1: § without a number"},
		{text: "§2.3", within: "api.md", count: 1, wrong: "line 1: api.md has no 2.3"},
	} {
		count, wrong := check(c.text, c.within, contract)
		if got := strings.Join(wrong, "\n"); count != c.count || got != c.wrong {
			t.Errorf("%q: %d citations and %q, want %d and %q", c.text, count, got, c.count, c.wrong)
		}
	}
}
