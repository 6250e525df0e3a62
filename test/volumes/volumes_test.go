// Package volumes tests volumes with the real binary, real sandboxes and the real SDKs. It needs
// root and bin/shoal; `make test-e2e` provides both, and the SDKs.
package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/test/installation"
)

const repository = "../.."

var (
	server *installation.Installation
	up     *installation.Process
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

// testMain runs one `shoal up` for all tests, and sees to it that nothing of it is left.
func testMain(m *testing.M) (code int) {
	if err := installation.Sweep(repository, map[string]int{"vols": 107}); err != nil {
		return complain(err)
	}
	before, err := installation.ReadHost()
	if err != nil {
		return complain(err)
	}
	if server, err = installation.New(repository, "vols", 107, "SHOAL_SHIPPED_ON_USE=false"); err != nil {
		return complain(err)
	}
	if err := server.Runnable(); err != nil {
		fmt.Println("skipped; run `make test-e2e`:", err)
	} else if up, err = server.Up(); err != nil {
		code = complain(err)
	} else {
		code = m.Run()
		if err := stopServer(code != 0); err != nil {
			code = complain(err)
		}
	}
	if err := server.Remove(); err != nil {
		code = complain(err)
	}
	for _, leak := range before.AwaitQuiet() {
		fmt.Println("LEAK", leak)
		code = 1
	}
	return code
}

// stopServer ends all that runs, unless a test could not start it again.
func stopServer(failed bool) error {
	if up == nil {
		return nil
	}
	if failed {
		fmt.Println(up.Tail())
	}
	return server.Stop(up, 30*time.Second)
}

func complain(err error) int {
	fmt.Println("tests of volumes:", err)
	return 1
}

// call makes an API request with a key, or with the development key, and returns its status and body.
func call(t *testing.T, key, method, path, body string) (int, string) {
	t.Helper()
	headers := map[string]string{"X-API-Key": shoal.DevAPIKey}
	if key != "" {
		headers["X-API-Key"] = key
	}
	status, data, err := server.CallWith(context.Background(), headers, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, string(data)
}

// volume is one, with a token for its content.
type volume struct {
	ID    string `json:"volumeID"`
	Name  string `json:"name"`
	Token string `json:"token"`
}

// newVolume makes a volume that is removed with the test.
func newVolume(t *testing.T) volume {
	t.Helper()
	return newVolumeOf(t, "")
}

func newVolumeOf(t *testing.T, key string) volume {
	t.Helper()
	status, body := call(t, key, "POST", "/volumes", fmt.Sprintf(`{"name":%q}`, shoal.NewExecutionID()))
	var v volume
	if err := json.Unmarshal([]byte(body), &v); status != 201 || err != nil {
		t.Fatalf("make a volume: %d %s", status, body)
	}
	t.Cleanup(func() {
		if status, body := call(t, key, "DELETE", "/volumes/"+v.ID, ""); status != 204 {
			t.Errorf("remove a volume: %d %s", status, body)
		}
	})
	return v
}

// box is a sandbox whose first volume is at /v.
type box struct {
	t  *testing.T
	id string
}

// newBox makes a sandbox that is killed with the test.
func newBox(t *testing.T, volumes ...volume) *box {
	t.Helper()
	return newBoxOf(t, "", volumes...)
}

func newBoxOf(t *testing.T, key string, volumes ...volume) *box {
	t.Helper()
	var mounts []string
	for i, v := range volumes {
		path := "/v"
		if i > 0 {
			path = fmt.Sprint("/v", i)
		}
		mounts = append(mounts, fmt.Sprintf(`{"name":%q,"path":%q}`, v.Name, path))
	}
	status, body := call(t, key, "POST", "/sandboxes", fmt.Sprintf(`{"templateID":"base","timeout":600,"volumeMounts":[%s]}`,
		strings.Join(mounts, ",")))
	var made struct {
		SandboxID string `json:"sandboxID"`
	}
	if err := json.Unmarshal([]byte(body), &made); status != 201 || err != nil {
		t.Fatalf("create: %d %s", status, body)
	}
	t.Cleanup(func() { call(t, key, "DELETE", "/sandboxes/"+made.SandboxID, "") })
	return &box{t: t, id: made.SandboxID}
}

// run runs a command as root and returns what it wrote. It fails the test if the command does.
func (b *box) run(line string) string {
	b.t.Helper()
	out, err := b.try(line)
	if err != nil {
		b.t.Fatalf("%s: %v: %s", line, err, out)
	}
	return out
}

func (b *box) try(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return server.Shell(ctx, installation.Caller{Transport: http.DefaultTransport, SandboxID: b.id, User: "root"}, line)
}

// gofers lists the processes that serve a volume.
func gofers(t *testing.T, v volume) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, _ := os.ReadFile(file)
		args := strings.Split(string(data), "\x00")
		if args[0] == "shoal-gofer" && len(args) > 2 && filepath.Base(args[1]) == "vol-"+v.ID {
			var pid int
			if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestSDKs runs the suites of the SDKs that are about volumes.
func TestSDKs(t *testing.T) {
	python, err := filepath.Abs("../python/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	for name, suite := range map[string][]string{
		"js":     {"node", "--test", "--test-reporter=spec", "volumes.test.mjs"},
		"python": append([]string{python}, installation.PythonTests("test_volumes")...),
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(suite[0], suite[1:]...)
			cmd.Dir, cmd.Env = "../"+name, server.SDKEnv()
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTeams: a team finds, reads and mounts no volume of another.
func TestTeams(t *testing.T) {
	v := newVolume(t)
	_, other, err := server.AddTeam(t.Context(), shoal.DefaultTeamLimits())
	if err != nil {
		t.Fatal(err)
	}
	if status, body := call(t, other, "GET", "/volumes", ""); status != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("list: %d %s", status, body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if status, body := call(t, other, method, "/volumes/"+v.ID, ""); status != 404 {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
	if status, body := call(t, other, "POST", "/sandboxes", fmt.Sprintf(
		`{"templateID":"base","volumeMounts":[{"name":%q,"path":"/v"}]}`, v.Name)); status != 400 ||
		!strings.Contains(body, "volume '"+v.Name+"' not found") {
		t.Errorf("create: %d %s", status, body)
	}
	// The name is its own to use, and its token is for its own.
	status, body := call(t, other, "POST", "/volumes", fmt.Sprintf(`{"name":%q}`, v.Name))
	var own volume
	if err := json.Unmarshal([]byte(body), &own); status != 201 || err != nil {
		t.Fatalf("make a volume: %d %s", status, body)
	}
	headers := map[string]string{"Authorization": "Bearer " + own.Token}
	if status, _, err := server.CallWith(t.Context(), headers, "GET", "/volumecontent/"+v.ID+"/dir?path=/", ""); err != nil ||
		status != 403 {
		t.Errorf("the content by another's token: %d %v", status, err)
	}
	if status, _, err := server.CallWith(t.Context(), headers, "GET", "/volumecontent/"+own.ID+"/dir?path=/", ""); err != nil ||
		status != 200 {
		t.Errorf("the content by its own token: %d %v", status, err)
	}
}

// TestSurvival: volumes go on when Shoal is killed, and a gofer that is killed costs the sandbox
// its volume until it is mounted again, and no more.
func TestSurvival(t *testing.T) {
	v := newVolume(t)
	b := newBox(t, v)
	b.run("echo before > /v/file; (while sleep 0.1; do date +%s.%N > /v/clock; done) > /dev/null 2>&1 &")
	up.Kill()
	var err error
	if up, err = server.Up(); err != nil {
		t.Fatal(err)
	}
	if out := b.run("cat /v/file"); out != "before\n" {
		t.Errorf("after a kill the file has %q", out)
	}
	first := b.run("cat /v/clock; sleep 0.5")
	if b.run("cat /v/clock") == first {
		t.Error("the program does not write to the volume any more")
	}
	own := gofers(t, v)
	if len(own) != 1 {
		t.Fatalf("there are %d gofers", len(own))
	}
	other := newBox(t, v)
	if err := syscall.Kill(own[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if out, err := b.try("cat /v/file"); err == nil || !strings.Contains(out+err.Error(), "Input/output error") {
		t.Errorf("read without a gofer: %q %v", out, err)
	}
	if out := other.run("cat /v/file"); out != "before\n" {
		t.Errorf("the other sandbox reads %q", out)
	}
	for _, path := range []string{"pause", "connect"} {
		if status, body := call(t, "", "POST", "/sandboxes/"+b.id+"/"+path, `{"timeout":600}`); status >= 300 {
			t.Fatalf("%s: %d %s", path, status, body)
		}
	}
	if out := b.run("cat /v/file"); out != "before\n" {
		t.Errorf("after a pause and a resume the file has %q", out)
	}
	call(t, "", "DELETE", "/sandboxes/"+b.id, "")
	call(t, "", "DELETE", "/sandboxes/"+other.id, "")
	if left := gofers(t, v); len(left) > 0 {
		t.Errorf("gofers of killed sandboxes: %v", left)
	}
}

// dirOf is a volume's directory on the host.
func dirOf(t *testing.T, v volume) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(server.DataDir, "volumes", "team-*", "vol-"+v.ID))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the volume is in %v %v", dirs, err)
	}
	return dirs[0]
}

// TestRemovedVolume: what a removed volume had is gone soon, also with a sandbox that has it.
func TestRemovedVolume(t *testing.T) {
	status, body := call(t, "", "POST", "/volumes", `{"name":"removed"}`)
	var v volume
	if err := json.Unmarshal([]byte(body), &v); status != 201 || err != nil {
		t.Fatalf("make a volume: %d %s", status, body)
	}
	b := newBox(t, v)
	b.run("mkdir -p /v/a/b; echo x > /v/a/b/c; chmod 0 /v/a")
	dir := dirOf(t, v)
	if status, body := call(t, "", "DELETE", "/volumes/"+v.ID, ""); status != 204 {
		t.Fatalf("remove: %d %s", status, body)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the content is still there")
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.run("true")
	if out, err := b.try("cat /v/a/b/c"); err == nil {
		t.Errorf("read what is removed: %q", out)
	}
}
