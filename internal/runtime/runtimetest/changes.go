package runtimetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/image"
	"shoal/internal/runtime"
)

// changes: what a template's step has changed becomes a layer of its images.
func changes(t *testing.T, h *Host) {
	h.Root = runtime.NewRoot(append(h.Root.Images(), h.PutImage(FilesToChange()))...)
	g := h.Start("changes", "")
	g.Want("/count", "1")
	if !h.layer(g, "nothing").Empty() {
		t.Error("a guest that changed nothing has changed its root")
	}
	g.Want("/call?name=changes", "ok")
	_, want := g.Ask("/call?name=root")
	layer := h.layer(g, "changes")
	g.Want("/count", "2")
	if err := layer.Rest(h.Root.Images()...); err != nil {
		t.Fatal(err)
	}
	h.Root = runtime.NewRoot(append(h.Root.Images(), h.putTree(layer))...)
	next := h.Start("has-them", "")
	if _, got := next.Ask("/call?name=root"); got != want {
		t.Errorf("with the layer a guest has other files:\n%s", difference(want, got))
	}
}

// FilesToChange are what the guests' program changes when it is asked for the call "changes".
func FilesToChange() map[string]*image.Node {
	file := func(text string) *image.Node { return image.NewFile(0o644, []byte(text)) }
	one := file("of two names")
	return map[string]*image.Node{
		"dir/changed": file("what will be changed"), "dir/cut": file("what will be cut"), "dir/mode": file("mode"),
		"dir/owner": file("owner"), "dir/in/side": file("inside"), "dir/gone": file("gone"), "dir/moves": file("moves"),
		"dir/kept": file("kept"), "dir/replaced": file("replaced"), "dir/untouched": file("untouched"),
		"goes/a": file("a"), "goes/b/c": file("c"), "again/a": file("a"), "again/b/c": file("c"), "tree/a/b": file("b"),
		"tree/c": file("c"), "becomes-dir": file(""), "becomes-file/a": file("a"), "link": image.NewLink("init"),
		"linked/one": one, "linked/other": one,
	}
}

// layer is what a guest has changed.
func (h *Host) layer(g *Guest, name string) *image.Tree {
	h.T.Helper()
	ctx := h.T.Context()
	f, err := os.Create(filepath.Join(h.T.TempDir(), name+".tar"))
	if err != nil {
		h.T.Fatal(err)
	}
	h.T.Cleanup(func() { f.Close() })
	if err := g.Changes(ctx, f); err != nil {
		h.T.Fatal(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		h.T.Fatal(err)
	}
	tree, err := image.FromTar(f)
	if err != nil {
		h.T.Fatal(err)
	}
	return tree
}

// difference is the lines that only one of two texts has.
func difference(a, b string) string {
	var out strings.Builder
	only := func(mark, a, b string) {
		for line := range strings.Lines(a) {
			if !strings.Contains("\n"+b, "\n"+line) {
				out.WriteString(mark + line)
			}
		}
	}
	only("- ", a, b)
	only("+ ", b, a)
	return out.String()
}
