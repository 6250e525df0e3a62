package gvisor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"shoal/internal/runtime/runtimetest"
)

// BenchmarkCosts is what work in a guest consists of: calls of the kernel, page faults of files that are in
// memory, and programs that start; beside the same program on the host. It needs root. The guest's platform
// is gVisor's default, or the one that SHOAL_TEST_GVISOR_PLATFORM names.
func BenchmarkCosts(b *testing.B) {
	h := runtimetest.NewHost(b, testDriver(b))
	g := h.Start("costs", "")
	g.Want("/count", "1")
	root := b.TempDir()
	for _, err := range []error{os.Mkdir(filepath.Join(root, "dev"), 0o755),
		os.WriteFile(filepath.Join(root, "dev/null"), nil, 0o666),
		os.WriteFile(filepath.Join(root, "init"), runtimetest.Program(b, runtimetest.GuestProgram), 0o755)} {
		if err != nil {
			b.Fatal(err)
		}
	}
	onHost := func(of string, n int) string {
		program := exec.Command("/init", "cost", of, strconv.Itoa(n))
		program.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		program.Dir = "/"
		out, err := program.Output()
		if err != nil {
			b.Fatalf("on the host: %v %s", err, out)
		}
		took, _, _ := strings.Cut(string(out), " ")
		return took
	}
	inGuest := func(of string, n int) string {
		status, took := g.Ask(fmt.Sprintf("/cost?of=%s&n=%d", of, n))
		if status != 200 {
			b.Fatalf("in the guest: %s", took)
		}
		return took
	}
	for _, of := range []string{"call", "fault", "start"} {
		for where, measure := range map[string]func(string, int) string{"guest": inGuest, "host": onHost} {
			b.Run(of+"/"+where, func(b *testing.B) {
				took, err := strconv.ParseFloat(measure(of, b.N), 64)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(took, "ns/op")
			})
		}
	}
}
