package program

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// vmlinux makes a kernel's file as far as it is looked at: headers, one segment, texts.
func vmlinux(texts ...string) []byte {
	content := []byte(strings.Join(append([]string{"Linux version 6.1.0-test (builder) #1"}, texts...), "\x00"))
	var out bytes.Buffer
	const headers = 64 + 56
	_ = binary.Write(&out, binary.LittleEndian, elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_EXEC), Machine: uint16(machine()), Version: 1,
		Entry: 0x1000000, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1})
	_ = binary.Write(&out, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: headers, Vaddr: 0x1000000,
		Filesz: uint64(len(content)), Memsz: uint64(len(content))})
	out.Write(content)
	return out.Bytes()
}

// allFeatures are the traces of a kernel that has everything built in.
func allFeatures(but string) (texts []string) {
	for f, trace := range featureTraces {
		if f != but {
			texts = append(texts, trace)
		}
	}
	return texts
}

func importKernel(t *testing.T, s *Store, data []byte, from KernelSource) (Kernel, error) {
	t.Helper()
	from.Path = filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(from.Path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return s.ImportKernel(context.Background(), from)
}

func TestImportKernel(t *testing.T) {
	s := Open(t.TempDir())
	good := vmlinux(allFeatures("")...)
	k, err := importKernel(t, s, good, KernelSource{})
	if err != nil || k.Name != "6.1.0-test" || k.Count(BuiltIn) != len(featureOptions) || k.Archive != "" {
		t.Fatalf("%+v %v", k, err)
	}
	if again, err := importKernel(t, s, good, KernelSource{}); err != nil || !again.At.Equal(k.At) {
		t.Errorf("the same once more: %v", err)
	}
	_, err = importKernel(t, s, vmlinux(append(allFeatures(""), "other")...), KernelSource{})
	wantKind(t, "another one of that release", err, shoal.ErrFirecrackerExists)

	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(good)
	_ = w.Close()
	for what, c := range map[string]struct {
		data []byte
		kind *shoal.Kind
	}{
		"a packed one":                {packed.Bytes(), shoal.ErrFirecrackerKernelPacked},
		"one by xz":                   {[]byte("\xfd7zXZ\x00rest"), shoal.ErrFirecrackerKernelPacked},
		"an empty file":               {nil, shoal.ErrFirecrackerKernelCut},
		"a file that is cut off":      {good[:len(good)-40], shoal.ErrFirecrackerKernelCut},
		"a header that is cut off":    {good[:40], shoal.ErrFirecrackerKernelCut},
		"a text":                      {[]byte("<html>not found</html>"), shoal.ErrFirecrackerKernelFormat},
		"another program":             {bytes.Replace(good, []byte("Linux version"), []byte("Other version"), 1), shoal.ErrFirecrackerKernelFormat},
		"an old kernel":               {bytes.Replace(good, []byte("6.1.0"), []byte("4.9.0"), 1), shoal.ErrFirecrackerKernelFormat},
		"another processor":           {append(append([]byte{}, good[:18]...), append([]byte{8, 0}, good[20:]...)...), shoal.ErrFirecrackerKernelFormat},
		"no virtio disk (no vda)":     {vmlinux(allFeatures(featureBlock)...), shoal.ErrFirecrackerKernelDrivers},
		"no virtio over MMIO":         {vmlinux(allFeatures(featureMMIO)...), shoal.ErrFirecrackerKernelDrivers},
		"no ext4":                     {vmlinux(allFeatures(featureExt4)...), shoal.ErrFirecrackerKernelDrivers},
		"no sockets to the host":      {vmlinux(allFeatures(featureVsock)...), shoal.ErrFirecrackerKernelDrivers},
		"a bzImage that is cut off":   {bzImage(packed.Bytes())[:bzHeader+200], shoal.ErrFirecrackerKernelCut},
		"a bzImage with other things": {bzImage([]byte("unknown packing, and more of it")), shoal.ErrFirecrackerKernelPacked},
	} {
		_, err := importKernel(t, s, c.data, KernelSource{Name: "other"})
		wantKind(t, what, err, c.kind)
	}
	if list, err := s.Kernels(); err != nil || len(list) != 1 {
		t.Errorf("after failures there is %v %v", list, err)
	}
	if _, err := importKernel(t, s, bzImage(packed.Bytes()), KernelSource{Name: "from-bz"}); err != nil {
		t.Errorf("a bzImage: %v", err)
	}
}

// bzImage packs a payload as a kernel's build does for x86.
func bzImage(payload []byte) []byte {
	image := make([]byte, 2*bzSector)
	image[bzSetupAt] = 1
	copy(image[bzMagicAt:], "HdrS")
	binary.LittleEndian.PutUint32(image[bzPayloadAt:], 0)
	binary.LittleEndian.PutUint32(image[bzLengthAt:], uint32(len(payload)+4))
	return append(append(image, payload...), 0, 0, 0, 0)
}

func TestKernelWithModules(t *testing.T) {
	s := Open(t.TempDir())
	options := filepath.Join(t.TempDir(), "config")
	text := "# CONFIG_X is not set\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_EXT4_FS=y\nCONFIG_VIRTIO_MMIO=m\nCONFIG_VIRTIO_BLK=m\n" +
		"CONFIG_VIRTIO_NET=y\nCONFIG_VIRTIO_VSOCKETS=y\n"
	if err := os.WriteFile(options, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	from := KernelSource{Config: options, Name: "k"}
	_, err := importKernel(t, s, vmlinux(), from)
	wantKind(t, "without its modules", err, shoal.ErrFirecrackerKernelDrivers)
	from.Modules = t.TempDir()
	put := func(name, depends string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(from.Modules, name+".ko"), koFile(depends), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("virtio_blk", "virtio,built-in")
	put("virtio_mmio", "virtio")
	put("virtio", "virtio-ring")
	put("virtio_ring", "")
	put("other", "")
	k, err := importKernel(t, s, vmlinux(), from)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(k.Archive)
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, name := range []string{"virtio_ring.ko", "virtio.ko", "virtio_blk.ko", "TRAILER!!!"} {
		next := bytes.Index(archive, []byte(name))
		if next <= at {
			t.Errorf("%s is at %d, after %d", name, next, at)
		}
		at = next
	}
	if bytes.Contains(archive, []byte("other.ko")) || k.Features[featureBlock] != AsModule {
		t.Errorf("the archive has more than is needed, or less is known: %v", k.Features)
	}
	put("virtio_ring", "virtio")
	_, err = importKernel(t, s, vmlinux(), from)
	wantKind(t, "modules that depend on one another", err, shoal.ErrFirecrackerKernelFormat)
}

// koFile makes a module as far as it is looked at: a section with what it depends on.
func koFile(depends string) []byte {
	info := "license=GPL\x00depends=" + depends + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	var out bytes.Buffer
	at := uint64(64)
	_ = binary.Write(&out, binary.LittleEndian, elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1},
		Type: uint16(elf.ET_REL), Machine: uint16(machine()), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
		Shoff: at + uint64(len(info)+len(names))})
	out.WriteString(info + names)
	for _, s := range []elf.Section64{{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(info))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(info)), Size: uint64(len(names))}} {
		_ = binary.Write(&out, binary.LittleEndian, s)
	}
	return out.Bytes()
}

func FuzzUnpackLZ4(f *testing.F) {
	f.Add([]byte("\x05\x00\x00\x00\x40abcd"))
	f.Add([]byte("\x09\x00\x00\x00\x12a\x01\x00\x40xyzw"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := unpackLZ4(data)
		if err == nil && len(out) > 255*(len(data)+1) {
			t.Errorf("%d bytes became %d", len(data), len(out))
		}
	})
}

func TestUnpackLZ4(t *testing.T) {
	// Four literals, then eight bytes from two back, then the last literals.
	out, err := unpackLZ4([]byte("\x0b\x00\x00\x00\x44abcd\x02\x00\x30xyz"))
	if err != nil || string(out) != "abcdcdcdcdcdxyz" {
		t.Errorf("%q %v", out, err)
	}
	for _, damaged := range []string{"\x20\x00\x00\x00\x40abcd", "\x04\x00\x00\x00\x14a\x05\x00", "\x02\x00\x00\x00\xf0a"} {
		if out, err := unpackLZ4([]byte(damaged)); err == nil {
			t.Errorf("%q became %q", damaged, out)
		}
	}
}
