package program

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// standIn builds a program that says a version as Firecracker's programs do. The programs of
// these tests are never asked for more.
func standIn(t *testing.T, who, version string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	text := "package main\n\nfunc main() { say(\"" + who + " " + version + "\") }\n" +
		"func say(s string) { os.Stdout.WriteString(s + \"\\n\\nmore\\n\") }\n"
	text = strings.Replace(text, "package main\n", "package main\n\nimport \"os\"\n", 1)
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, strings.ToLower(who))
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func wantKind(t *testing.T, what string, err error, kind *shoal.Kind) {
	t.Helper()
	if !kind.Matches(err) {
		t.Errorf("%s: %v, want %s", what, err, kind.Code)
	}
}

func TestImport(t *testing.T) {
	ctx := context.Background()
	firecracker, jailer := standIn(t, "Firecracker", "v1.16.1"), standIn(t, "Jailer", "v1.16.1")
	other := standIn(t, "Jailer", "v1.15.0")
	s := Open(t.TempDir())
	if list, err := s.Programs(); err != nil || len(list) != 0 {
		t.Errorf("an empty store: %v %v", list, err)
	}
	p, err := s.Import(ctx, firecracker, jailer, "")
	if err != nil || p.Name != "v1.16.1" || !p.Static || p.Filter != FilterBuiltIn {
		t.Fatalf("%+v %v", p, err)
	}
	if again, err := s.Import(ctx, firecracker, jailer, ""); err != nil || !again.At.Equal(p.At) {
		t.Errorf("the same once more: %+v %v", again, err)
	}
	if _, err := s.Import(ctx, firecracker, jailer, "v1.16.1_own"); err != nil {
		t.Errorf("under another name: %v", err)
	}
	t.Chdir(filepath.Dir(firecracker))
	if _, err := s.Import(ctx, filepath.Base(firecracker), jailer, "here"); err != nil {
		t.Errorf("one in the current directory: %v", err)
	}
	if list, err := s.Programs(); err != nil || len(list) != 3 {
		t.Errorf("three builds side by side: %v %v", list, err)
	}

	_, err = s.Import(ctx, firecracker, other, "")
	wantKind(t, "a jailer of another version", err, shoal.ErrFirecrackerVersion)
	_, err = s.Import(ctx, jailer, firecracker, "")
	wantKind(t, "the two exchanged", err, shoal.ErrFirecrackerProgram)
	_, err = s.Import(ctx, "/bin/true", jailer, "")
	wantKind(t, "another program", err, shoal.ErrFirecrackerProgram)
	_, err = s.Import(ctx, firecracker, jailer, "../up")
	wantKind(t, "a path as a name", err, shoal.ErrFirecrackerName)
	_, err = s.Import(ctx, standIn(t, "Firecracker", "v1.9.0"), standIn(t, "Jailer", "v1.9.0"), "")
	wantKind(t, "an old one", err, shoal.ErrFirecrackerVersion)
	grown := filepath.Join(t.TempDir(), "firecracker")
	data, _ := os.ReadFile(firecracker)
	if err := os.WriteFile(grown, append(data, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = s.Import(ctx, grown, jailer, "")
	wantKind(t, "another build of the version", err, shoal.ErrFirecrackerExists)
	cut := filepath.Join(t.TempDir(), "firecracker")
	if err := os.WriteFile(cut, data[:100], 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = s.Import(ctx, cut, jailer, "")
	wantKind(t, "a program that is cut off", err, shoal.ErrFirecrackerProgram)
}

func TestImportOfProgramsThatNeedLibraries(t *testing.T) {
	facts, err := look("/bin/sh")
	if err != nil || facts.static || facts.loader == "" {
		t.Skipf("no program with libraries to look at: %+v %v", facts, err)
	}
	// The version is asked for first, so a program that needs libraries has to say one.
	script := filepath.Join(t.TempDir(), "main.c")
	text := `#include <stdio.h>
int main(void) { puts("Firecracker v1.16.1"); return 0; }`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "firecracker")
	if out, err := exec.Command("cc", "-o", path, script).CombinedOutput(); err != nil {
		t.Skipf("no C compiler: %v %s", err, out)
	}
	_, err = Open(t.TempDir()).Import(context.Background(), path, standIn(t, "Jailer", "v1.16.1"), "")
	wantKind(t, "a program with libraries", err, shoal.ErrFirecrackerStatic)
}

func TestVerifyAndRemove(t *testing.T) {
	s := Open(t.TempDir())
	p, err := s.Import(context.Background(), standIn(t, "Firecracker", "v1.16.1"), standIn(t, "Jailer", "v1.16.1"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(p.JailerPath, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a jailer that was changed", p.Verify(), shoal.ErrFirecrackerChanged)
	if err := os.Remove(p.JailerPath); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a jailer that is gone", p.Verify(), shoal.ErrFirecrackerChanged)
	if err := s.Remove(p.Name); err != nil {
		t.Error(err)
	}
	wantKind(t, "a second removal", s.Remove(p.Name), shoal.ErrFirecrackerMissing)
}

// TestRealProgram imports the Firecracker that FIRECRACKER_BIN names, with the jailer beside it.
func TestRealProgram(t *testing.T) {
	path := os.Getenv("FIRECRACKER_BIN")
	if path == "" {
		t.Skip("FIRECRACKER_BIN names no Firecracker")
	}
	s := Open(t.TempDir())
	p, err := s.Import(context.Background(), path, filepath.Join(filepath.Dir(path), "jailer"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(p)
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
}

func TestDownload(t *testing.T) {
	release := archive(t, map[string]string{
		"release-v1.16.1/firecracker-v1.16.1-" + arch() + ".debug": "",
		"release-v1.16.1/firecracker-v1.16.1-" + arch():            standIn(t, "Firecracker", "v1.16.1"),
		"release-v1.16.1/jailer-v1.16.1-" + arch():                 standIn(t, "Jailer", "v1.16.1"),
	})
	sum := sha256.Sum256(release)
	digest := hex.EncodeToString(sum[:])
	name := "/v1.16.1/firecracker-v1.16.1-" + arch() + ".tgz"
	files := map[string][]byte{name: release, name + ".sha256.txt": []byte(digest + "  firecracker.tgz\n")}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if data, ok := files[r.URL.Path]; ok {
			_, _ = w.Write(data)
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	s := Open(t.TempDir())
	get := func(version, sum string) error {
		_, err := s.Download(context.Background(), Release{Base: server.URL + "/", Version: version, SHA256: sum,
			Client: server.Client()})
		return err
	}
	wantKind(t, "a release that does not exist", get("v1.99.0", ""), shoal.ErrFirecrackerDownload)
	wantKind(t, "no version", get("latest", ""), shoal.ErrFirecrackerVersion)
	wantKind(t, "another checksum", get("v1.16.1", strings.Repeat("0", 64)), shoal.ErrFirecrackerChecksum)
	files[name+".sha256.txt"] = []byte("<html>")
	wantKind(t, "a page in place of a checksum", get("v1.16.1", ""), shoal.ErrFirecrackerChecksum)
	files[name+".sha256.txt"] = []byte(digest + "  firecracker.tgz\n")
	files[name] = release[:len(release)/2]
	wantKind(t, "half an archive", get("v1.16.1", ""), shoal.ErrFirecrackerChecksum)
	if list, err := s.Programs(); len(list) != 0 || err != nil {
		t.Errorf("after failures there is %v %v", list, err)
	}
	files[name] = release
	if err := get("v1.16.1", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Program("v1.16.1"); err != nil {
		t.Error(err)
	}
	half := filepath.Join(t.TempDir(), "half.tgz")
	if err := os.WriteFile(half, release[:len(release)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.ImportRelease(context.Background(), half, "")
	wantKind(t, "half an archive by its path", err, shoal.ErrFirecrackerProgram)
}

// archive packs files as a release is.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	w := tar.NewWriter(packed)
	for name, from := range files {
		var data []byte
		if from != "" {
			var err error
			if data, err = os.ReadFile(from); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"v1.2.3", "v1.9.1", "v1.10.0", "v1.16.0-dev", "v1.16.1", "v2.0.0"}
	for i := range ordered[1:] {
		if CompareVersions(ordered[i], ordered[i+1]) >= 0 || CompareVersions(ordered[i+1], ordered[i]) <= 0 {
			t.Errorf("%s does not come before %s", ordered[i], ordered[i+1])
		}
	}
}
