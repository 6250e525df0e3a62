// Package rooms holds the source tree to what ARCHITECTURE.md says of it. The table
// "Rooms" there is the rule; nothing here repeats it.
package rooms

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "shoal"
)

// room is a row of the table: packages that belong together, and what they may import.
type room struct {
	paths    []string // relative to the module
	allowed  []string // relative to the module; a room's path allows all of the room
	anything bool
}

// TestImportsFollowTheTable fails for each import between rooms that the importing
// room's row does not name.
func TestImportsFollowTheTable(t *testing.T) {
	rooms := readTable(t)
	for path, imports := range imports(t) {
		from := roomOf(rooms, path)
		if from == nil {
			t.Errorf("%s is in no room of ARCHITECTURE.md", path)
			continue
		}
		if from.anything {
			continue
		}
		for _, imported := range imports {
			to := roomOf(rooms, imported)
			if to == nil || to == from || from.allows(to, imported) {
				continue
			}
			t.Errorf("%s imports %s, which its row in ARCHITECTURE.md does not allow", path, imported)
		}
	}
}

// TestRowsNameLowerRows fails for a row that names one above it, or itself. What may import
// anything is left out.
func TestRowsNameLowerRows(t *testing.T) {
	rooms := readTable(t)
	for at, r := range rooms {
		for _, name := range r.allowed {
			if to := slices.Index(rooms, roomOf(rooms, name)); to <= at {
				t.Errorf("the row of %v in ARCHITECTURE.md names %s, which has no row below it", r.paths, name)
			}
		}
	}
}

// TestTableNamesWhatExists fails for a row of a package that is gone, which would allow
// or forbid nothing.
func TestTableNamesWhatExists(t *testing.T) {
	for _, r := range readTable(t) {
		for _, path := range slices.Concat(r.paths, r.allowed) {
			if info, err := os.Stat(root + "/" + path); err != nil || !info.IsDir() {
				t.Errorf("ARCHITECTURE.md names %s, which is no directory", path)
			}
		}
	}
}

// TestForbiddenImportIsFound shows that the first test can fail.
func TestForbiddenImportIsFound(t *testing.T) {
	rooms := readTable(t)
	domain := roomOf(rooms, "internal/shoal")
	if domain == nil || domain.anything || domain.allows(roomOf(rooms, "internal/api"), "internal/api") {
		t.Errorf("the domain may import the API: %+v", domain)
	}
	if r := roomOf(rooms, "internal/runtime/gvisor/kernel"); r == nil || slices.Contains(r.paths, "internal/runtime") {
		t.Errorf("gVisor's kernel belongs to the room %+v", r)
	}
}

// allows reports whether a row names the imported package: by its room, by itself, or
// by a directory above it that is inside its room.
func (r *room) allows(to *room, imported string) bool {
	for _, name := range r.allowed {
		if slices.Contains(to.paths, name) || imported == name {
			return true
		}
		if within(imported, name) && slices.ContainsFunc(to.paths, func(path string) bool { return within(name, path) }) {
			return true
		}
	}
	return false
}

// roomOf finds the room with the longest path that a package is in.
func roomOf(rooms []*room, pkg string) *room {
	var found *room
	longest := -1
	for _, r := range rooms {
		for _, path := range r.paths {
			if within(pkg, path) && len(path) > longest {
				found, longest = r, len(path)
			}
		}
	}
	return found
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

var (
	quoted  = regexp.MustCompile("`([^`]+)`")
	remarks = regexp.MustCompile(`\([^)]*\)`)
)

// readTable reads the rows between the heading "Rooms" and the next heading.
//
// A first cell names one package or several, separated by commas. The last cell is
// "anything", "–" for nothing, or names that are relative to internal/ or to the
// module, with remarks in parentheses. Where it has parts separated by semicolons,
// there is one for each package of the row.
func readTable(t *testing.T) []*room {
	t.Helper()
	text, err := os.ReadFile(root + "/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Rooms\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rooms []*room
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 {
			continue
		}
		var paths []string
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			paths = append(paths, strings.TrimSuffix(m[1], "/"))
		}
		if len(paths) == 0 {
			continue // the heading
		}
		parts := strings.Split(remarks.ReplaceAllString(cells[2], ""), ";")
		if len(parts) == 1 {
			rooms = append(rooms, newRoom(paths, parts[0]))
			continue
		}
		if len(parts) != len(paths) {
			t.Fatalf("ARCHITECTURE.md: %d packages, but %d lists of imports:%s", len(paths), len(parts), line)
		}
		for i, path := range paths {
			rooms = append(rooms, newRoom([]string{path}, parts[i]))
		}
	}
	if len(rooms) < 10 {
		t.Fatalf("ARCHITECTURE.md has a table of %d rooms; its form has changed", len(rooms))
	}
	return rooms
}

func newRoom(paths []string, imports string) *room {
	r := &room{paths: paths}
	for name := range strings.SplitSeq(imports, ",") {
		switch name = strings.Trim(strings.TrimSpace(name), "`"); name {
		case "", "–":
		case "anything":
			r.anything = true
		default:
			if _, err := os.Stat(root + "/internal/" + name); err == nil {
				name = "internal/" + name
			}
			r.allowed = append(r.allowed, name)
		}
	}
	return r
}

// imports lists what each package of the module imports of the module, tests left out:
// they may look at any room.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		path := strings.TrimPrefix(fields[0], module+"/")
		found[path] = nil
		for _, imported := range fields[1:] {
			if relative, ours := strings.CutPrefix(imported, module+"/"); ours {
				found[path] = append(found[path], relative)
			}
		}
	}
	return found
}
