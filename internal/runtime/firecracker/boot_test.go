package firecracker_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/runtime/firecracker"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/runtime/runtimetest"
	"shoal/internal/shoal"
)

// TestLabBootFailures causes what people meet when a machine does not boot, and looks whether it is named.
// What keeps it from happening otherwise, the checks at an import, is gone round.
func TestLabBootFailures(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, kernel string) // of the kernel's directory
		init  []byte
		want  *shoal.Kind
	}{
		"kernel-cut": {cutKernel, nil, shoal.ErrFirecrackerLoadKernel},
		"no-drivers": {withoutModules, nil, shoal.ErrFirecrackerNoDisk},
		"no-init":    {nil, []byte("#!/no/such/shell\n"), shoal.ErrFirecrackerNoInit},
		"init-ends":  {nil, programThatEnds(), shoal.ErrFirecrackerInitEnded},
	} {
		t.Run(name, func(t *testing.T) {
			o := firecracker.Options{Init: c.init, Programs: program.Open(copyOfStore(t, c.spoil))}
			h := runtimetest.NewHost(t, openIn(t, o))
			spec, _ := h.Spec(name)
			g, err := h.TryStart(t.Context(), spec, "")
			if err == nil {
				t.Fatalf("it boots: %v", g.Kill(context.Background()))
			}
			if !c.want.Matches(err) {
				t.Errorf("%v\nwant %s", err, c.want.Code)
			}
			if left, err := filepath.Glob(filepath.Join(spec.UpperDir, "*")); len(left) > 0 || err != nil {
				t.Errorf("this is left: %v %v", left, err)
			}
		})
	}
}

// copyOfStore is the directory of programs with a kernel that may be spoilt.
func copyOfStore(t *testing.T, spoil func(t *testing.T, kernel string)) string {
	t.Helper()
	from := os.Getenv(storeVariable)
	if from == "" {
		t.Skip(storeVariable + " names no directory with a kernel")
	}
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	kernels, err := filepath.Glob(filepath.Join(to, "kernels", "*"))
	if err != nil || len(kernels) == 0 {
		t.Fatalf("no kernel in %s (%v)", from, err)
	}
	if spoil != nil {
		for _, k := range kernels {
			spoil(t, k)
		}
	}
	return to
}

func cutKernel(t *testing.T, kernel string) {
	t.Helper()
	if err := os.Truncate(filepath.Join(kernel, "vmlinux"), 1<<20); err != nil {
		t.Fatal(err)
	}
}

// withoutModules makes a kernel one that was imported without them.
func withoutModules(t *testing.T, kernel string) {
	t.Helper()
	path := filepath.Join(kernel, "kernel.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	record := map[string]any{}
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	record["modules"] = ""
	if data, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// programThatEnds is an executable for Linux on x86-64 that does nothing but end, with the code 0.
func programThatEnds() []byte {
	code := []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} // xor edi, edi; mov eax, 60 (exit); syscall
	const headers, address = 64 + 56, 0x400000
	le := binary.LittleEndian
	b := append([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0}, make([]byte, 8)...)
	b = le.AppendUint16(b, 2) // an executable
	b = le.AppendUint16(b, 62)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, address+headers)
	b = le.AppendUint64(b, 64)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, n := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	b = le.AppendUint32(b, 1) // to be loaded
	b = le.AppendUint32(b, 5) // read and executed
	for _, n := range []uint64{0, address, address, headers + uint64(len(code)), headers + uint64(len(code)), 0x1000} {
		b = le.AppendUint64(b, n)
	}
	return append(b, code...)
}
