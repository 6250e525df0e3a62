package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestInterruptedBuild: a build ends with an error if its server dies, and leaves nothing
// that could affect the next build. The leak check of this package covers the rest.
func TestInterruptedBuild(t *testing.T) {
	out := server.python(t, `
import time
from e2b import Template
steps = Template().from_base_image().run_cmd("echo half > half; echo begun; sleep 300")
b = Template.build_in_background(steps, "interrupted", cpu_count=1, memory_mb=512)
while not any("[stdout]: begun" in e.message for e in Template.get_build_status(b).log_entries):
    time.sleep(0.1)
print(b.template_id, b.build_id)
`)
	ids := strings.Fields(out)
	if len(ids) != 2 {
		t.Fatalf("the build: %q", out)
	}
	_ = up.Stop(syscall.SIGKILL, 10*time.Second)
	if err := startServer(); err != nil {
		t.Fatal(err)
	}
	status, body := server.call(t, "GET", "/templates/"+ids[0]+"/builds/"+ids[1]+"/status", "")
	if status != 200 || !strings.Contains(body, `"status":"error"`) ||
		!strings.Contains(body, "interrupted") {
		t.Errorf("after the crash: %d %s", status, body)
	}
	if left, _ := filepath.Glob(filepath.Join(server.RunDir, "guests", "build-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	out = server.python(t, `
from e2b import Sandbox, Template
Template.build(Template().from_base_image().run_cmd("test ! -e half && echo whole > whole"), "interrupted", cpu_count=1, memory_mb=512)
s = Sandbox.create("interrupted")
print(s.files.read("whole"))
s.kill()
`)
	if strings.TrimSpace(out) != "whole" {
		t.Errorf("the next build: %q", out)
	}
	if status, body := server.call(t, "DELETE", "/templates/interrupted", ""); status != 204 {
		t.Errorf("delete: %d %s", status, body)
	}
}

// TestImageLibrary builds from an imported image, without a registry.
func TestImageLibrary(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "root.tar.gz")
	packages, err := filepath.Glob(filepath.Join(server.ImageDir, "roots", "*"))
	if err != nil || len(packages) == 0 {
		t.Fatalf("the base template's packages: %v %v", packages, err)
	}
	// A Debian image without a user, envd, or Shoal's settings, nor what takes half of the room.
	cmd := exec.CommandContext(ctx, "tar", "-C", packages[0], "--exclude=./proc/*", "--exclude=./sys/*",
		"--exclude=./dev/*", "--exclude=./usr/lib/gcc", "--exclude=./usr/include", "--exclude=*.a",
		"--exclude=./usr/bin/gh", "--exclude=./usr/local/bin/node", "-czf", file, ".")
	cmd.Env = append(os.Environ(), "GZIP=-1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if out, err := server.Run(ctx, "image", "import", "example.test/debian:12", file); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	if out, err := server.Run(ctx, "image", "list"); err != nil ||
		!strings.Contains(out, "example.test/debian:12") {
		t.Errorf("list: %v\n%s", err, out)
	}
	out := server.python(t, `
from e2b import Sandbox, Template
lines = []
Template.build(Template().from_image("example.test/debian:12").run_cmd("whoami; sudo id -un > who; python3 -c 'print(6*7)' > answer")
    .run_cmd("sudo sh -c 'echo $PIP_SHOAL_TEST' > kept; echo deb http://original.example/packages x main > /tmp/list; sudo mv /tmp/list /etc/apt/sources.list.d/test.list")
    .run_cmd("cat /etc/apt/sources.list.d/test.list > while-building"),
    "imported", cpu_count=1, memory_mb=512, on_build_logs=lambda e: lines.append(e.message))
assert "Provisioning was successful, cleaning up" in lines, lines
s = Sandbox.create("imported")
print(s.files.read("who"), s.files.read("answer"), s.commands.run("whoami; pwd").stdout)
print(s.files.read("kept"), s.files.read("while-building"), s.files.read("/etc/apt/sources.list.d/test.list"))
s.commands.run("dpkg-query -W systemd systemd-sysv openssh-server sudo chrony socat curl ca-certificates fuse3 iptables git less nftables iputils-ping jq iproute2")
print(s.commands.run("pgrep -o . >/dev/null; stat -c %a /dev/fuse; cat /etc/tmpfiles.d/fuse.conf; ls /etc/ssh/ssh_host_* 2>/dev/null | wc -l").stdout)
print(s.commands.run("stat -c %a /usr/local/bin $(find /usr/local -type f | head -n 1)").stdout)
s.kill()
`)
	want := "root 42 user /home/user kept deb http://mirror.example/packages x main deb http://original.example/packages x main" +
		" 666 z /dev/fuse 0666 root root - 0 777 777"
	if got := strings.Join(strings.Fields(out), " "); got != want {
		t.Errorf("a sandbox of an imported image:\n%s\nwant\n%s", got, want)
	}
	oldClient(t)
	server.call(t, "DELETE", "/templates/imported", "")
	if out, err := server.Run(ctx, "image", "rm", "example.test/debian:12"); err != nil {
		t.Errorf("rm: %v\n%s", err, out)
	}
	if out, err := server.Run(ctx, "image", "rm", "example.test/debian:12"); err == nil ||
		!strings.Contains(out, "there is no image") {
		t.Errorf("rm of a missing image: %v\n%s", err, out)
	}
}

// oldClient builds like SDKs before 2.3.0: the steps run as root, but sandboxes have the
// default user.
func oldClient(t *testing.T) {
	t.Helper()
	var ids struct{ TemplateID, BuildID string }
	status, body := server.call(t, "POST", "/v3/templates",
		`{"name":"by-old-client","cpuCount":1,"memoryMB":512}`)
	if err := json.Unmarshal([]byte(body), &ids); err != nil || status != 202 {
		t.Fatalf("register: %d %s", status, body)
	}
	at := "/templates/" + ids.TemplateID + "/builds/" + ids.BuildID
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+server.API+"/v2"+at,
		strings.NewReader(`{"fromImage":"example.test/debian:12","steps":[{"type":"RUN","args":["id -un > /who; ! id user"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"User-Agent": "e2b-js-sdk/2.2.9", "X-API-Key": shoal.DevAPIKey,
		"Content-Type": "application/json"} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	eventually(t, 2*time.Minute, "the old client's build", func() bool {
		_, body = server.call(t, "GET", at+"/status", "")
		return strings.Contains(body, `"status":"ready"`) || strings.Contains(body, `"status":"error"`)
	})
	if strings.Contains(body, `"status":"error"`) {
		t.Fatalf("the old client's build: %s", body)
	}
	out := server.python(t, `
from e2b import Sandbox
s = Sandbox.create("by-old-client")
print(s.files.read("/who"), s.commands.run("whoami; pwd; ls -A ~; sudo id -un").stdout)
s.kill()
`)
	if got := strings.Join(strings.Fields(out),
		" "); got != "root user /home/user .bash_logout .bashrc .profile root" {
		t.Errorf("a sandbox of an old client's template: %q", got)
	}
	server.call(t, "DELETE", "/templates/by-old-client", "")
}

// TestUnsupportedImages: builds fail with the cause and what to do about it.
func TestUnsupportedImages(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc", "os-release"),
		[]byte("ID=ol\nID_LIKE=fedora\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// An image with nothing but a shell.
	packages, err := filepath.Glob(filepath.Join(server.ImageDir, "roots", "*", "bin", "dash"))
	if err != nil || len(packages) == 0 {
		t.Fatalf("the base template's packages: %v %v", packages, err)
	}
	base := filepath.Dir(filepath.Dir(packages[0]))
	pack := func(image string, more ...string) {
		t.Helper()
		file := filepath.Join(dir, image+".tar")
		args := append([]string{"-cf", file, "-C", root, "."}, more...)
		if out, err := exec.CommandContext(t.Context(), "tar", args...).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		if out, err := server.Run(t.Context(), "image", "import", "example.test/"+image, file); err != nil {
			t.Fatalf("import: %v\n%s", err, out)
		}
	}
	shell := []string{"-C", base, "--transform=s,dash$,sh,", "--dereference", "./bin/dash",
		"./usr/lib/x86_64-linux-gnu/libc.so.6", "./lib64/ld-linux-x86-64.so.2"}
	pack("oracle", shell...)
	pack("shell-less")
	out := server.python(t, `
from e2b import Template, BuildException
for image in "oracle", "shell-less":
    try:
        Template.build(Template().from_image("example.test/" + image), "unsupported", cpu_count=1, memory_mb=512)
    except BuildException as e:
        print(e)
`)
	for _, want := range []string{"ID='ol' is not supported. Use an image of Debian",
		"the image's /bin/sh cannot be run"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	server.call(t, "DELETE", "/templates/unsupported", "")
	for _, image := range []string{"oracle", "shell-less"} {
		if out, err := server.Run(t.Context(), "image", "rm", "example.test/"+image); err != nil {
			t.Errorf("rm: %v\n%s", err, out)
		}
	}
}

// cli runs the official command line with the environment that a user exports.
func (i *box) cli(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	binary, err := filepath.Abs("../js/node_modules/.bin/e2b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = append(i.SDKEnv(), "HOME="+t.TempDir(), "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestCommandLine creates, lists and deletes templates and sandboxes with the official
// command line.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	dockerfile := "FROM e2bdev/base\nENV GREETING=hello\nRUN echo $GREETING > /greeting\nCOPY file.txt /data/\n"
	for name, text := range map[string]string{"e2b.Dockerfile": dockerfile,
		"file.txt": "from the context\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must := func(want string, args ...string) string {
		t.Helper()
		out, err := server.cli(t, dir, args...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("e2b %s: %v, want %q\n%s", strings.Join(args, " "), err, want, out)
		}
		return out
	}
	must("✅ Building sandbox template", "template", "create", "by-cli", "--path", dir)
	must("by-cli", "template", "list")
	out := must("by-cli", "template", "list", "--format", "json")
	if at := strings.IndexByte(out, '['); at < 0 || !json.Valid([]byte(strings.TrimSpace(out[at:]))) {
		t.Errorf("the list is not JSON:\n%s", out)
	}
	must("", "template", "publish", "--yes", "by-cli")
	must("", "template", "unpublish", "--yes", "by-cli")
	c := server.createOf(t, "by-cli")
	must(c.SandboxID, "sandbox", "list")
	if got := must("", "sandbox", "exec", c.SandboxID, "cat", "/greeting",
		"/data/file.txt"); !strings.Contains(got, "hello\nfrom the context\n") {
		t.Errorf("exec: %q", got)
	}
	must("", "sandbox", "metrics", c.SandboxID, "--format", "json")
	must("", "sandbox", "kill", c.SandboxID)
	must("", "template", "delete", "--yes", "by-cli")
	if out, err := server.cli(t, dir, "template", "delete", "--yes", "by-cli"); err == nil &&
		!strings.Contains(out, "not found") {
		t.Errorf("a second delete:\n%s", out)
	}
}

// TestTemplatesShareTheirBase: each of several templates takes only as much space as it
// differs.
func TestTemplatesShareTheirBase(t *testing.T) {
	size := func() (total int64) {
		err := filepath.WalkDir(filepath.Join(server.DataDir, "images"),
			func(_ string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				info, err := d.Info()
				if err == nil {
					total += info.Size()
				}
				return nil // a file removed in the meantime takes no space
			})
		if err != nil {
			t.Fatal(err)
		}
		return total
	}
	before := size()
	server.python(t, `
from e2b import Template
for n in range(5):
    Template.build(Template().from_base_image().run_cmd(f"head -c 1000000 /dev/urandom > blob-{n}"), f"sharing-{n}", cpu_count=1, memory_mb=512)
`)
	// Each has its megabyte in the layer of the step and in that of the template.
	if grown := size() - before; grown < 5_000_000 || grown > 5*4_000_000 {
		t.Errorf("five templates with a megabyte each take %d bytes", grown)
	}
	for n := range 5 {
		server.call(t, "DELETE", fmt.Sprintf("/templates/sharing-%d", n), "")
	}
}
