package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/config"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/runtime/runtimetest"
)

// TestMicroVMs looks at machines that lack something; one that has everything is in the lab.
func TestMicroVMs(t *testing.T) {
	dir := t.TempDir()
	cfg := &config.Config{Runtimes: config.RuntimeAuto, FirecrackerDir: dir}
	want := func(what string, level Level, text string) {
		t.Helper()
		r := microVMs(cfg, program.Host{KVM: "/dev/null"})
		if r.Level != level || !strings.Contains(r.Found, text) || (level >= Note && r.Fix == "") {
			t.Errorf("%s: %+v, want %s with %q", what, r, level, text)
		}
	}
	want("nothing imported, nothing asked for", OK, "nothing is imported")
	cfg.Runtimes = config.RuntimeFirecracker
	want("nothing imported", Fail, "no build of Firecracker")
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // the SHA-256 of nothing
	put("programs/v1.16.1/firecracker", "")
	put("programs/v1.16.1/jailer", "")
	put("programs/v1.16.1/program.json", `{"version":"v1.16.1","digest":"`+empty+`","jailer":"`+empty+`"}`)
	want("no kernel", Fail, "no guest kernel")
	put("kernels/k/vmlinux", "")
	put("kernels/k/kernel.json", `{"release":"6.1.0","digest":"`+empty+`"}`)
	want("no KVM", Fail, "/dev/null is not KVM's")
	cfg.Runtimes = config.RuntimeAuto
	want("no KVM, and none needed", Note, "/dev/null is not KVM's")
	put("kernels/k/vmlinux", "changed")
	want("a kernel that was changed", Note, "vmlinux is not what was imported")
	put("kernels/k/kernel.json", "{")
	want("a record that is cut off", Note, "kernel.json cannot be read")
	cfg.Runtimes = config.RuntimeGvisor
	want("gVisor alone", OK, "runtimes is gvisor")
}

// TestMicroVMMemory: without userfaultfd microVMs run, and the doctor says what they lack.
func TestMicroVMMemory(t *testing.T) {
	if !runtimetest.WithoutUserfault(t) {
		return
	}
	r := checkMicroVMMemory(t.Context(), &config.Config{Runtimes: config.RuntimeFirecracker})
	if r.Level != Warn || !strings.Contains(r.Found, "userfaultfd") || !strings.Contains(r.Fix, "filter") {
		t.Errorf("userfaultfd is refused: %+v", r)
	}
}
