package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/artifact"
)

// TestCollect runs `shoal gc` while Shoal is running: it removes what nothing refers to,
// snapshots by way of the trash, and keeps what something refers to and what is new. By
// another database it does nothing.
func TestCollect(t *testing.T) {
	r := another(t, "gc", nil, "SHOAL_REST_TIME=0")
	c := r.create(t)
	r.write(t, c, "/dev/shm/mark", "in memory")
	snapshot, build := r.snapshot(t, c)
	r.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", `{}`)
	pauses := r.artifacts(t, "pause-"+c.SandboxID)
	if len(pauses) == 0 {
		t.Fatal("the pause left no files")
	}

	kept := func(name string) string { return filepath.Join(r.DataDir, "artifacts", name) }
	forgotten := kept("build-11111111-1111-4111-8111-111111111111")
	unborn := kept("build-22222222-2222-4222-8222-222222222222")
	orphan := kept("pause-inotthere00000000000a-12345678")
	for _, dir := range []string{forgotten, unborn, orphan} {
		duplicate(t, build, dir)
	}
	long := time.Now().Add(-time.Hour)
	for _, dir := range append(pauses, build, forgotten, orphan) {
		describe(t, dir, func(manifest map[string]any) { manifest["createdAt"] = long })
	}
	describe(t, orphan, func(manifest map[string]any) { delete(manifest["meta"].(map[string]any), "build") })

	kernel := filepath.Join(r.DataDir, "kernels", strings.Repeat("a", 64))
	if err := os.Mkdir(kernel, 0o755); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(r.DataDir, "images", "sha256-"+strings.Repeat("b", 64)+".erofs")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(image, long, long); err != nil {
		t.Fatal(err)
	}

	type step struct{ flag, want string }
	steps := []step{
		{"", "put 1 build(s), 1 snapshot(s) into the trash"}, {"", "removed 0 from the trash, 0 image(s), 0 kernel(s)"},
		{"--empty-trash", "removed 2 from the trash"}, {"--empty-trash", "removed 0 from the trash"},
	}
	free, total, err := artifact.Space(r.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if artifact.Missing(free, total) > 0 {
		t.Log("the disk is short: nothing rests in the trash")
		steps = []step{{"", "removed 2 from the trash"}, steps[1], steps[3]}
	}
	for _, step := range steps {
		out, err := r.Run(t.Context(), strings.Fields("gc "+step.flag)...)
		if err != nil || !strings.Contains(out, step.want) {
			t.Errorf("gc %s: %v\n%s\nwant %q", step.flag, err, out, step.want)
		}
	}
	out, err := r.Run(t.Context(), "gc", "--database", filepath.Join(t.TempDir(), "wrong.db"))
	if err == nil || !strings.Contains(out, "garbage.foreign") {
		t.Errorf("gc by another database: %v\n%s", err, out)
	}
	for _, path := range []string{forgotten, orphan, kernel, image} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", path, err)
		}
	}
	for _, path := range append(pauses, build, unborn) {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%v", err)
		}
	}
	r.copyOf(t, snapshot)
	r.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/connect", `{"timeout":300}`)
	r.read(t, c, "/dev/shm/mark", "in memory")
}

// duplicate copies a snapshot, which nothing refers to then.
func duplicate(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	describe(t, to, func(manifest map[string]any) {
		name := filepath.Base(to)
		manifest["id"] = name
		manifest["meta"].(map[string]any)["build"].(map[string]any)["ID"] = strings.TrimPrefix(name, "build-")
	})
}

// describe changes the description of a snapshot's files.
func describe(t *testing.T, dir string, change func(map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, "manifest.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var manifest map[string]any
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	change(manifest)
	if data, err = json.Marshal(manifest); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
