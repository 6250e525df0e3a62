package api

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/build"
	"shoal/internal/shoal"
)

// The official SDKs are strict about statuses, keys and logs; here they build
// templates with an engine that plays builds, and keep secrets.

func TestJavaScriptSDKBuildsTemplates(t *testing.T) { runJavaScript(t, "template-api.mjs") }

func TestJavaScriptSDKKeepsSecrets(t *testing.T) { runJavaScript(t, "secrets-api.mjs") }

func TestPythonSDKBuildsTemplates(t *testing.T) { runPython(t, "template_api.py") }

func TestPythonSDKKeepsSecrets(t *testing.T) { runPython(t, "secrets_api.py") }

func runJavaScript(t *testing.T, script string) {
	t.Helper()
	dir, _ := filepath.Abs("../../test/js")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "e2b")); err != nil {
		t.Skip("needs the JavaScript SDK; `make test-e2e` installs it")
	}
	runSDK(t, dir, "node", script)
}

func runPython(t *testing.T, script string) {
	t.Helper()
	dir, _ := filepath.Abs("../../test/python")
	python := os.Getenv("SHOAL_TEST_PYTHON")
	if python == "" {
		python = filepath.Join(dir, ".venv", "bin", "python")
	}
	if _, err := os.Stat(python); err != nil {
		t.Skip("needs the Python SDK; `make test-e2e` installs it")
	}
	runSDK(t, dir, python, "program.py", script)
}

func runSDK(t *testing.T, dir, program string, script ...string) {
	t.Helper()
	w := newWorld(t)
	w.engine.runs(w.playBuild)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, script...)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(),
		"E2B_API_URL=" + w.url, "E2B_API_KEY=" + shoal.DevAPIKey}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "done") {
		t.Errorf("%s: %v\n%s", strings.Join(script, " "), err, out)
	}
}

// playBuild logs what the scripts look for, reads the uploaded archives, fails
// where they want it, and sleeps until it is cancelled if a step says so.
func (w *world) playBuild(ctx context.Context, job build.Job, log build.Log) (build.Result, error) {
	copied := 0
	for i, step := range job.Steps {
		n := build.StepNumber(i)
		log.Write(build.Info, n, fmt.Sprintf("[builder %d/%d] %s", i+1, len(job.Steps), step))
		switch {
		case step.Type == "COPY":
			if err := w.readArchive(job.CacheScope, step.FilesHash); err != nil {
				return build.Result{}, &build.Failure{Message: err.Error(), Step: n}
			}
			copied++
		case step.Args[0] == "sleep 60":
			<-ctx.Done()
			return build.Result{}, ctx.Err()
		case step.Args[0] == "whoami":
			return build.Result{}, &build.Failure{Step: n,
				Message: fmt.Sprintf("failed to run command 'whoami': command failed: unauthenticated: invalid username: '%s'", step.Args[1])}
		}
	}
	log.Write(build.Debug, "", fmt.Sprintf("copied %d archive(s)", copied))
	for i := range 250 {
		log.Write(build.Info, "", fmt.Sprintf("line %d", i))
	}
	return madeUp(job), nil
}

func (w *world) readArchive(scope, hash string) error {
	f, err := w.server.builds.Files.Open(scope, hash)
	if err != nil {
		return err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	entries := 0
	for archive := tar.NewReader(unzipped); ; entries++ {
		if _, err := archive.Next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	if entries == 0 {
		return fmt.Errorf("the archive %s is empty", hash)
	}
	return nil
}
