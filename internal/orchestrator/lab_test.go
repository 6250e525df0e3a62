package orchestrator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/envdapi/client"
	"shoal/internal/image"
	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/runtime/runtimetest"
	"shoal/internal/shoal"
)

// emulated is how long a guest on emulated processors may take.
const emulated = 10 * time.Minute

// newMicroVMs is a node whose guests are microVMs. It needs KVM, FIRECRACKER_BIN, and a kernel.
func newMicroVMs(t *testing.T) *node {
	t.Helper()
	path, store := os.Getenv("FIRECRACKER_BIN"), os.Getenv("SHOAL_TEST_FIRECRACKER")
	if path == "" || store == "" {
		t.Skip("FIRECRACKER_BIN names no Firecracker, or SHOAL_TEST_FIRECRACKER no directory with a kernel")
	}
	programs := program.Open(store)
	if _, err := programs.Import(t.Context(), path, filepath.Join(filepath.Dir(path), "jailer"), ""); err != nil {
		t.Fatal(err)
	}
	d, err := firecracker.New(firecracker.Options{RunDir: t.TempDir(), BaseDir: t.TempDir(), CgroupParent: "or-vm",
		Programs: programs, Patience: emulated, Init: runtimetest.Program(t, "shoal/cmd/guestinit"),
		Attendant: runtimetest.ProgramFile(t, "shoal/cmd/attendant")}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		t.Skip(err)
	}
	n := &node{t: t, dir: t.TempDir(), log: slog.New(slog.NewTextHandler(os.Stderr, nil)), slow: emulated,
		wrap: func(runtime.Runtime) runtime.Runtime { return d }}
	n.makeImage()
	n.open()
	t.Cleanup(func() {
		n.close()
		n.teardown()
		n.must(errors.Join(d.Reclaim(context.Background(), func(string) bool { return false }), d.Close()))
	})
	return n
}

// TestLabTemplate builds a template in microVMs: a step whose changes become a layer, another step on it, and a
// start command whose memory is kept. Its sandbox goes on from there, and has what the steps made.
func TestLabTemplate(t *testing.T) {
	n := newMicroVMs(t)
	ctx := t.Context()
	b := n.build
	b.ID, b.TemplateID = "template-build", "template"
	b.Runtime = shoal.RuntimeWish{Name: firecracker.Name, Required: true}
	b.Start = shoal.StartBlock{Command: "call begin", Ready: "call begun", Context: shoal.BuildContext{User: "root"}}
	b.Layers = []string{n.build.ImageDigest, n.filesToChange()}

	w, err := n.orch.Workshop().Open(ctx, b)
	n.must(err)
	n.must(w.Guest().Put(ctx, "/copied", strings.NewReader("by a step")))
	call := func(w *Workbench, name string) string {
		t.Helper()
		text, err := w.Guest().Text(ctx, client.Command{User: "root", Dir: "/", Args: client.Shell("call " + name)})
		n.must(err)
		return text
	}
	call(w, "changes")
	prepared, err := w.Guest().Prepare(ctx)
	n.must(err)
	b.Layers = append(slices.Clone(b.Layers), n.changed(w, b.Layers, prepared))
	n.must(w.Close())

	w, err = n.orch.Workshop().Open(ctx, b)
	n.must(err)
	want := call(w, "root")
	if !strings.Contains(want, "/new/tree/a/b") || !strings.Contains(want, "/copied") {
		t.Errorf("the second step does not have what the first one made:\n%s", want)
	}
	n.must(w.Guest().Startup(ctx, b.Start, client.Silent))
	n.must(w.Keep(ctx, b))
	n.must(w.Close())

	sb, err := n.orch.Create(ctx, shoal.Spec{SandboxID: "of-template", TemplateID: b.TemplateID, BuildID: b.ID,
		Resources: b.Resources, Timeout: time.Hour, MaxLength: 2 * time.Hour, EnvdAccessToken: "token"})
	n.must(err)
	if sb.ColdBoot {
		t.Error("the template's memory was not used")
	}
	for path, content := range map[string]string{"/begun": "", "/copied": "by a step", "/new/tree/c": "c"} {
		if got := n.patientRead(sb, path); got != content {
			t.Errorf("%s has %q in a sandbox, want %q", path, got, content)
		}
	}
}

// filesToChange is a layer with a shell that knows calls, and the files that the call "changes" is about.
func (n *node) filesToChange() (digest string) {
	n.t.Helper()
	tree := image.NewTree()
	for name, file := range runtimetest.FilesToChange() {
		n.must(tree.Put(name, file))
	}
	shell := image.NewFile(0o755, runtimetest.Program(n.t, runtimetest.GuestProgram))
	n.must(errors.Join(tree.Put("bin/bash", shell), tree.Put("init", shell)))
	digest, _, err := n.store.Put(tree)
	n.must(err)
	return digest
}

// changed makes a layer of what a step has changed, as the build's engine does.
func (n *node) changed(w *Workbench, below []string, prepared []string) (digest string) {
	n.t.Helper()
	f, err := os.Create(filepath.Join(n.t.TempDir(), "changes.tar"))
	n.must(err)
	defer f.Close()
	n.must(w.Disk(n.t.Context(), f))
	_, err = f.Seek(0, io.SeekStart)
	n.must(err)
	tree, err := image.FromTar(f)
	n.must(err)
	tree.Keep("run", prepared)
	var paths []string
	for _, digest := range below {
		path, err := n.store.Path(digest)
		n.must(err)
		paths = append(paths, path)
	}
	n.must(tree.Rest(paths...))
	digest, _, err = n.store.Put(tree)
	n.must(err)
	return digest
}

// patientRead is read for a guest on emulated processors.
func (n *node) patientRead(sb shoal.Sandbox, path string) string {
	n.t.Helper()
	req, err := http.NewRequest(http.MethodGet, sb.EnvdURL()+"/files?username=root&path="+url.QueryEscape(path), nil)
	n.must(err)
	req.Header.Set("X-Access-Token", sb.EnvdAccessToken)
	resp, err := (&http.Client{Timeout: emulated}).Do(req)
	n.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	n.must(err)
	if resp.StatusCode != http.StatusOK {
		n.t.Errorf("%s: %s %s", path, resp.Status, data)
	}
	return string(data)
}
