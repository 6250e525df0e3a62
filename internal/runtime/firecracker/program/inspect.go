package program

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"shoal/internal/shoal"
)

// Inspect looks at a file, or a directory of files, that somebody means to run microVMs from: a
// kernel, a disk, a description (metadata.json), a file with a size. It returns what is wrong with
// each, as errors of the catalogue; what it does not know it says nothing of.
func (s *Store) Inspect(path string) []error {
	info, err := os.Stat(path)
	if err != nil {
		return []error{shoal.ErrFirecrackerInspect.Wrap(err, "%s cannot be read", path)}
	}
	if !info.IsDir() {
		return nonNil(s.inspectFile(path))
	}
	var found []error
	err = filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = append(found, nonNil(s.inspectFile(file))...)
		}
		return err
	})
	if err != nil {
		found = append(found, shoal.ErrFirecrackerInspect.Wrap(err, "%s cannot be read", path))
	}
	return found
}

func nonNil(err error) []error {
	if err == nil {
		return nil
	}
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		return many.Unwrap()
	}
	return []error{err}
}

func (s *Store) inspectFile(path string) error {
	base := filepath.Base(path)
	switch {
	case base == "metadata.json":
		return s.CheckMetadata(path)
	case base == "size.txt":
		_, err := ReadSize(path)
		return err
	case strings.HasSuffix(base, ".ext4") || strings.HasPrefix(base, "rootfs"):
		return CheckDisk(path)
	case base == "init":
		return CheckInit(path)
	case strings.HasPrefix(base, "vmlinu"):
		k, err := examineKernel(path, "")
		if err == nil {
			err = k.sufficient()
		}
		return err
	}
	return nil
}

// Offsets of what a disk begins with.
const (
	ext4SuperAt = 1024
	ext4MagicAt = ext4SuperAt + 56
	ext4Magic   = 0xEF53
	ext4Blocks  = ext4SuperAt + 4  // how many blocks there are
	ext4LogSize = ext4SuperAt + 24 // log2 of a block's size, less 10
	mbrMarkAt   = 510
	gptAt       = 512
)

// CheckDisk says why a file cannot be a guest's disk, which is a bare ext4 file system.
func CheckDisk(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return shoal.ErrFirecrackerInspect.Wrap(err, "%s cannot be read", path)
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return shoal.ErrFirecrackerInspect.Wrap(err, "%s cannot be read", path)
	}
	head = head[:n]
	le := binary.LittleEndian
	switch {
	case len(head) >= ext4SuperAt+1024 && le.Uint16(head[ext4MagicAt:]) == ext4Magic:
		size := int64(le.Uint32(head[ext4Blocks:])) << (10 + min(le.Uint32(head[ext4LogSize:]), 6))
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() < size {
			return shoal.ErrFirecrackerDiskCut.New("%s is cut off: its file system has %d bytes, the file %d", path,
				size, info.Size())
		}
		return nil
	case len(head) >= gptAt+8 && string(head[gptAt:gptAt+8]) == "EFI PART",
		len(head) >= 512 && head[mbrMarkAt] == 0x55 && head[mbrMarkAt+1] == 0xaa:
		return shoal.ErrFirecrackerDiskPartitions.New("%s is a disk with a partition table", path)
	case bytes.HasPrefix(head, []byte("QFI\xfb")):
		return shoal.ErrFirecrackerDiskFormat.New("%s is a disk of QEMU (qcow2)", path)
	}
	for _, p := range packings {
		if bytes.HasPrefix(head, []byte(p.begin)) {
			return shoal.ErrFirecrackerDiskFormat.New("%s is packed (%s)", path, p.name)
		}
	}
	return shoal.ErrFirecrackerDiskFormat.New("%s is no ext4 file system", path)
}

// Metadata is what a description of a template names, in the two forms that there are.
type Metadata struct {
	KernelVersion      string `json:"kernelVersion"`
	FirecrackerVersion string `json:"firecrackerVersion"`
	Template           struct {
		KernelVersion      string `json:"kernel_version"`
		FirecrackerVersion string `json:"firecracker_version"`
	} `json:"template"`
}

// CheckMetadata says which of the programs that a description names are not here. Versions are
// written with what tells builds of one apart, as v1.12.1_d990331, and kernels with vmlinux-.
func (s *Store) CheckMetadata(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return shoal.ErrFirecrackerInspect.Wrap(err, "%s cannot be read", path)
	}
	var m Metadata
	if err := json.Unmarshal(data, &m); err != nil {
		return shoal.ErrFirecrackerMetadata.Wrap(err, "%s cannot be read", path)
	}
	firecracker := m.FirecrackerVersion + m.Template.FirecrackerVersion // one of them is empty
	kernel := strings.TrimPrefix(m.KernelVersion+m.Template.KernelVersion, "vmlinux-")
	var missing []error
	if firecracker != "" {
		if _, err := s.Program(firecracker); err != nil {
			missing = append(missing, shoal.ErrFirecrackerMetadata.New(
				"%s names Firecracker %s, which is not imported here; there is %s", path, firecracker, s.programNames()))
		}
	}
	if kernel != "" {
		if _, err := s.Kernel(kernel); err != nil {
			missing = append(missing, shoal.ErrFirecrackerMetadata.New(
				"%s names the kernel %s, which is not imported here; there is %s", path, kernel, s.kernelNames()))
		}
	}
	return errors.Join(missing...)
}

func (s *Store) programNames() string {
	list, _ := s.Programs()
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Name
	}
	return enumerate(names)
}

func (s *Store) kernelNames() string {
	list, _ := s.Kernels()
	names := make([]string, len(list))
	for i, k := range list {
		names[i] = k.Name
	}
	return enumerate(names)
}

func enumerate(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// maxSizeFile bounds a file with a size, in bytes.
const maxSizeFile = 64

// ReadSize reads a file with a size. A line's end and blanks around the number are no fault here,
// and are elsewhere; anything else is one.
func ReadSize(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, shoal.ErrFirecrackerInspect.Wrap(err, "%s cannot be read", path)
	}
	if len(data) > maxSizeFile {
		return 0, shoal.ErrFirecrackerSizeFile.New("%s has %d bytes, and is to have a number", path, len(data))
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || size < 0 {
		return 0, shoal.ErrFirecrackerSizeFile.New("%s says %q, and is to have a number of bytes", path, data)
	}
	return size, nil
}

// CheckInit looks at a program that is to be the first one of a machine. Shoal brings its own;
// this is for images that are run elsewhere too.
func CheckInit(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return shoal.ErrFirecrackerInit.Wrap(err, "%s is missing", path)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return shoal.ErrFirecrackerInit.New("%s is not executable", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return shoal.ErrFirecrackerInspect.Wrap(err, "%s cannot be read", path)
	}
	switch {
	case bytes.HasPrefix(data, []byte("#!")):
		line, _, _ := bytes.Cut(data, []byte("\n"))
		if bytes.HasSuffix(line, []byte("\r")) {
			return shoal.ErrFirecrackerInit.New("%s has lines that end as on Windows", path)
		}
	case bytes.HasPrefix(data, []byte("#\\!")):
		return shoal.ErrFirecrackerInit.New(`%s begins with #\!, which a shell has made of #!`, path)
	case bytes.HasPrefix(data, []byte("\x7fELF")):
	default:
		return shoal.ErrFirecrackerInit.New("%s is neither a program nor begins with #!", path)
	}
	return nil
}
