package doctor

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// TestPage: the page about findings names each of them, and no test that is gone.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, c := range checks {
		if !strings.Contains(page, "`"+c.name+"`") {
			t.Errorf("the page does not say what %q looks at", c.name)
		}
	}
	for _, s := range servers {
		if !strings.Contains(page, "`"+s.name+"`") {
			t.Errorf("the page does not say what is asked of %q", s.name)
		}
	}
	there := tests(t)
	for _, name := range regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(page, -1) {
		if !there[name[1]] {
			t.Errorf("the page names %s, which is no test", name[1])
		}
	}
}

// tests are the names of all tests in the repository.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found, function := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "bin" || e.Name() == "node_modules" || strings.HasPrefix(e.Name(), ".") && len(e.Name()) > 2):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
