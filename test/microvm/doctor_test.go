package microvm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// finding is what `shoal doctor` says in one line, with its fix.
func finding(t *testing.T, env []string, name string) (level, text string) {
	t.Helper()
	out, _ := shoalWith(t, env, "doctor") // it fails where a check does
	found := regexp.MustCompile(`(?m)^(\w+) +` + name + ` +(.*(?:\n +fix: .*)?)$`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("the doctor says nothing of %s:\n%s", name, out)
	}
	t.Logf("%s: %s %s", name, found[1], found[2])
	return found[1], found[2]
}

// TestLabDoctor takes from the machine what microVMs need, and gives it back: each time the doctor says what is
// missing and what mends it, and only then.
func TestLabDoctor(t *testing.T) {
	store, program := os.Getenv("SHOAL_TEST_FIRECRACKER"), os.Getenv("FIRECRACKER_BIN")
	empty := []string{"SHOAL_FIRECRACKER_DIR=" + t.TempDir()}
	want := func(what string, env []string, name, level string, words ...string) {
		t.Helper()
		got, text := finding(t, env, name)
		for _, word := range words {
			if got != level || !strings.Contains(text, word) {
				t.Errorf("%s: %s says %s %q, want %s with %q", what, name, got, text, level, word)
			}
		}
	}
	want("nothing imported", empty, "microvms", "FAIL", "no build of Firecracker", "shoal firecracker download")
	if out, err := shoalWith(t, empty, "firecracker", "import", program); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want("no kernel", empty, "microvms", "FAIL", "no guest kernel is imported", "shoal kernel from-debian")
	if out, err := shoalWith(t, nil, "firecracker", "import", program); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if level, text := finding(t, nil, "microvms"); level == "FAIL" || !strings.Contains(text, "/dev/kvm works") {
		t.Errorf("all is there, and the doctor says %s %s", level, text)
	}
	want("all is there", nil, "microvm disks", "ok", "NBD, which works")
	want("all is there", nil, "microvm memory", "ok", "userfaultfd, which works")

	without := func(what string, remove, restore []string, then func()) {
		t.Helper()
		run(t, remove...)
		defer run(t, restore...)
		then()
	}
	without("KVM", []string{"mv", "/dev/kvm", "/dev/kvm-away"}, []string{"mv", "/dev/kvm-away", "/dev/kvm"}, func() {
		want("no KVM", nil, "microvms", "FAIL", "no /dev/kvm", "modprobe kvm-")
		out, err := shoalWith(t, nil, "up")
		if err == nil || !strings.Contains(out, "/dev/kvm") || !strings.Contains(out, "modprobe kvm-") {
			t.Errorf("without KVM, up ends with %v: %s", err, out)
		}
		if out, err := shoalWith(t, nil, "down"); err != nil {
			t.Errorf("without KVM, down ends with %v: %s", err, out)
		}
		out, err = shoalWith(t, []string{"SHOAL_RUNTIMES=auto"}, "doctor")
		if !strings.Contains(out, "note  microvms") {
			t.Errorf("without KVM and with runtimes=auto the doctor says (%v) %s", err, out)
		}
	})
	without("taps", []string{"mv", "/dev/net/tun", "/dev/net/away"}, []string{"mv", "/dev/net/away", "/dev/net/tun"}, func() {
		want("no taps", nil, "microvms", "FAIL", "/dev/net/tun", "modprobe tun")
	})
	without("NBD", []string{"modprobe", "-r", "nbd"}, []string{"modprobe", "nbd", "nbds_max=0", "max_part=0"}, func() {
		want("no NBD", nil, "microvm disks", "warn", "nbd module is not loaded", "modprobe nbd")
	})
	kernels, err := filepath.Glob(filepath.Join(store, "kernels", "*", "vmlinux"))
	if err != nil || len(kernels) != 1 {
		t.Fatalf("kernels: %v %v", kernels, err)
	}
	kept := filepath.Join(t.TempDir(), "kernel")
	run(t, "cp", kernels[0], kept)
	without("the kernel", []string{"truncate", "-s", "-1", kernels[0]}, []string{"cp", kept, kernels[0]}, func() {
		want("a kernel that was cut", nil, "microvms", "FAIL", "is not what was imported", "import")
	})
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}
