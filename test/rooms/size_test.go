package rooms

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxLines   = 500 // of a file
	maxMethods = 40  // of a type
	crowded    = "internal/orchestrator"
)

// TestFilesAreShort fails for a file that is too long to be about one thing.
func TestFilesAreShort(t *testing.T) {
	forEachFile(t, root, func(path string, text []byte) {
		if lines := bytes.Count(text, []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines; the most is %d", path, lines, maxLines)
		}
	})
}

// TestTypesHaveFewMethods fails for a type of the orchestrator that does everything.
func TestTypesHaveFewMethods(t *testing.T) {
	methods := map[string]int{} // by directory and type
	forEachFile(t, filepath.Join(root, crowded), func(path string, text []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[filepath.Dir(path)+"."+receiver(f.Recv.List[0].Type)]++
			}
		}
	})
	if len(methods) == 0 {
		t.Fatalf("%s has no methods; it has moved", crowded)
	}
	for name, n := range methods {
		if n > maxMethods {
			t.Errorf("%s has %d methods; the most is %d", name, n, maxMethods)
		}
	}
}

// receiver names the type of a method's receiver.
func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr: // of a generic type
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// forEachFile visits the Go files below a directory that somebody wrote.
func forEachFile(t *testing.T, dir string, visit func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch entry.Name() {
			case "bin", "node_modules", ".venv", ".git":
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !generated(text) {
			visit(path, text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// generated reports whether a file says what generators write in their first lines.
func generated(text []byte) bool {
	head := text[:min(len(text), 2048)]
	return bytes.Contains(head, []byte("// Code generated ")) && bytes.Contains(head, []byte("DO NOT EDIT."))
}
