package program

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/runtime/firecracker/block"
	"shoal/internal/shoal"
)

func ext4Head(blocks uint32) []byte {
	head := make([]byte, 4096)
	binary.LittleEndian.PutUint16(head[ext4MagicAt:], ext4Magic)
	binary.LittleEndian.PutUint32(head[ext4Blocks:], blocks)
	binary.LittleEndian.PutUint32(head[ext4LogSize:], 2)
	return head
}

func partitioned(gpt bool) []byte {
	head := make([]byte, 4096)
	if gpt {
		copy(head[gptAt:], "EFI PART")
	} else {
		head[mbrMarkAt], head[mbrMarkAt+1] = 0x55, 0xaa
	}
	return head
}

func TestInspect(t *testing.T) {
	s := Open(t.TempDir())
	for name, c := range map[string]struct {
		file string
		data []byte
		perm os.FileMode
		kind *shoal.Kind // nil is that nothing is wrong
	}{
		"a bare file system":            {"rootfs.ext4", ext4Head(1), 0o600, nil},
		"a file system that is cut":     {"rootfs.ext4", ext4Head(1000), 0o600, shoal.ErrFirecrackerDiskCut},
		"a partition table (MBR)":       {"rootfs.ext4", partitioned(false), 0o600, shoal.ErrFirecrackerDiskPartitions},
		"a partition table (GPT)":       {"rootfs.ext4", partitioned(true), 0o600, shoal.ErrFirecrackerDiskPartitions},
		"a packed file system":          {"rootfs.ext4", []byte("\x1f\x8b\x08"), 0o600, shoal.ErrFirecrackerDiskFormat},
		"a qcow2":                       {"rootfs.img", []byte("QFI\xfb\x00"), 0o600, shoal.ErrFirecrackerDiskFormat},
		"another file":                  {"rootfs.ext4", []byte("text"), 0o600, shoal.ErrFirecrackerDiskFormat},
		"a size":                        {"size.txt", []byte("4096"), 0o600, nil},
		"a size with a line's end":      {"size.txt", []byte("4096\n"), 0o600, nil},
		"a size that is none":           {"size.txt", []byte("4 GiB"), 0o600, shoal.ErrFirecrackerSizeFile},
		"a negative size":               {"size.txt", []byte("-1"), 0o600, shoal.ErrFirecrackerSizeFile},
		"a version that is not here":    {"metadata.json", []byte(`{"kernelVersion":"vmlinux-6.1.158","buildID":"x"}`), 0o600, shoal.ErrFirecrackerMetadata},
		"one in the newer form":         {"metadata.json", []byte(`{"version":2,"template":{"firecracker_version":"v1.12.1_d990331"}}`), 0o600, shoal.ErrFirecrackerMetadata},
		"a description that is broken":  {"metadata.json", []byte(`{`), 0o600, shoal.ErrFirecrackerMetadata},
		"a description of nothing":      {"metadata.json", []byte(`{}`), 0o600, nil},
		"a script":                      {"init", []byte("#!/bin/sh\nexec envd\n"), 0o755, nil},
		"a script that is not to run":   {"init", []byte("#!/bin/sh\n"), 0o644, shoal.ErrFirecrackerInit},
		"a shebang that a shell spoilt": {"init", []byte("#\\!/bin/sh\n"), 0o755, shoal.ErrFirecrackerInit},
		"a script of Windows":           {"init", []byte("#!/bin/sh\r\n"), 0o755, shoal.ErrFirecrackerInit},
		"no script":                     {"init", []byte("exec envd"), 0o755, shoal.ErrFirecrackerInit},
		"a kernel without a driver":     {"vmlinux.bin", vmlinux(allFeatures(featureBlock)...), 0o600, shoal.ErrFirecrackerKernelDrivers},
		"a kernel":                      {"vmlinux-6.1", vmlinux(allFeatures("")...), 0o600, nil},
		"something else":                {"notes.md", []byte("text"), 0o600, nil},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, c.file), c.data, c.perm); err != nil {
			t.Fatal(err)
		}
		found := s.Inspect(dir)
		if c.kind == nil && len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
		if c.kind != nil && (len(found) != 1 || !c.kind.Matches(found[0])) {
			t.Errorf("%s: %v, want %s", name, found, c.kind.Code)
		}
	}
	if found := s.Inspect(filepath.Join(t.TempDir(), "missing")); len(found) != 1 || !shoal.ErrFirecrackerInspect.Matches(found[0]) {
		t.Errorf("a missing file: %v", found)
	}
	if size, err := ReadSize(write(t, "size.txt", []byte(" 4096\n"))); size != 4096 || err != nil {
		t.Errorf("a size with blanks: %d %v", size, err)
	}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHost(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	wantKind(t, "no KVM", Host{KVM: missing}.CheckKVM(), shoal.ErrFirecrackerKVM)
	wantKind(t, "another device", Host{KVM: "/dev/null"}.CheckKVM(), shoal.ErrFirecrackerKVM)
	wantKind(t, "no tap devices", Host{Tun: missing}.CheckTun(), shoal.ErrFirecrackerTap)
	wantKind(t, "no huge pages", Host{HugePages: missing}.CheckHugePages(1), shoal.ErrFirecrackerHugePages)
	pages := t.TempDir()
	for name, n := range map[string]string{"free_hugepages": "10\n", "resv_hugepages": "4\n"} {
		if err := os.WriteFile(filepath.Join(pages, name), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := (Host{HugePages: pages}).CheckHugePages(12); err != nil {
		t.Error(err)
	}
	wantKind(t, "too few huge pages", Host{HugePages: pages}.CheckHugePages(13), shoal.ErrFirecrackerHugePages)
}

func TestExplain(t *testing.T) {
	silent := errors.New("the guest did not answer")
	for says, kind := range map[string]*shoal.Kind{
		"Cannot load kernel due to invalid memory configuration or invalid kernel image: Kernel Loader: failed to load ELF kernel image": shoal.ErrFirecrackerLoadKernel,
		`VFS: Cannot open root device "vda" or unknown-block(0,0): error -6`:                                                             shoal.ErrFirecrackerNoDisk,
		NoDiskLine: shoal.ErrFirecrackerNoDisk,
		"Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.": shoal.ErrFirecrackerNoInit,
		"Kernel panic - not syncing: Requested init /sbin/init failed (error -2).":                shoal.ErrFirecrackerNoInit,
		"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000000":                 shoal.ErrFirecrackerInitEnded,
		block.ErrNoModule().Error():  shoal.ErrFirecrackerNBD,
		block.ErrNoDevice(3).Error(): shoal.ErrFirecrackerNBDFull,
	} {
		wantKind(t, says, Explain(silent, "[    1.0] "+says+"\n"), kind)
		if err := Explain(silent, says); !errors.Is(err, silent) {
			t.Errorf("%s: the error itself is lost: %v", says, err)
		}
	}
	if err := Explain(silent, "all is well"); !errors.Is(err, silent) || err.Error() != silent.Error() {
		t.Errorf("unknown: %v", err)
	}
	if Explain(nil, NoDiskLine) != nil {
		t.Error("no error became one")
	}
}

// TestExplainDisk: a host without the module, and one without a free device. Both are caused for good in the
// lab, and where the module cannot be loaded.
func TestExplainDisk(t *testing.T) {
	wantKind(t, "no module", explainDisk(fmt.Errorf("attach: %w", block.ErrNoModule())), shoal.ErrFirecrackerNBD)
	wantKind(t, "no device", explainDisk(fmt.Errorf("attach: %w", block.ErrNoDevice(3))), shoal.ErrFirecrackerNBDFull)
	if err := explainDisk(io.EOF); !errors.Is(err, io.EOF) || explainDisk(nil) != nil {
		t.Errorf("another error: %v", err)
	}
	if err := block.NewKernel().Check(); err != nil {
		wantKind(t, "this machine", Host{}.CheckDisks(t.Context()), shoal.ErrFirecrackerNBD)
	}
}

func FuzzDisk(f *testing.F) {
	f.Add(ext4Head(1))
	f.Add(partitioned(true))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := write(t, "rootfs.ext4", data)
		magic := len(data) >= ext4SuperAt+1024 && bytes.Equal(data[ext4MagicAt:ext4MagicAt+2], []byte{0x53, 0xef})
		if err := CheckDisk(path); err == nil && !magic {
			t.Error("something without the mark of ext4 is taken for it")
		}
	})
}
