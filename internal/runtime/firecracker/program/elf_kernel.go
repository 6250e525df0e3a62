package program

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"

	"shoal/internal/shoal"
)

// Features of kernels that guests need or can use, as people read them.
const (
	featureMMIO    = "virtio over MMIO"
	featureBlock   = "virtio disks"
	featureNet     = "virtio network"
	featureVsock   = "virtio sockets"
	featureEntropy = "virtio entropy"
	featureBalloon = "virtio balloon"
	featureExt4    = "ext4"
	featureInitrd  = "initial root file system"
	featureFUSE    = "FUSE"
)

// featureOptions are the options of a configuration that a feature is.
var featureOptions = map[string]string{
	featureMMIO: "CONFIG_VIRTIO_MMIO", featureBlock: "CONFIG_VIRTIO_BLK", featureNet: "CONFIG_VIRTIO_NET",
	featureVsock: "CONFIG_VIRTIO_VSOCKETS", featureEntropy: "CONFIG_HW_RANDOM_VIRTIO",
	featureBalloon: "CONFIG_VIRTIO_BALLOON", featureExt4: "CONFIG_EXT4_FS", featureInitrd: "CONFIG_BLK_DEV_INITRD",
	featureFUSE: "CONFIG_FUSE_FS",
}

// featureModules are the modules that a feature is, where it is one.
var featureModules = map[string]string{
	featureMMIO: "virtio_mmio", featureBlock: "virtio_blk", featureNet: "virtio_net",
	featureVsock: "vmw_vsock_virtio_transport", featureEntropy: "virtio_rng", featureBalloon: "virtio_balloon",
	featureExt4: "ext4", featureFUSE: "fuse",
}

// featureTraces are texts that a kernel has inside with the feature built in.
var featureTraces = map[string]string{
	featureMMIO: "virtio-mmio", featureBlock: "virtio_blk", featureNet: "virtio_net",
	featureVsock: "vmw_vsock_virtio_transport", featureEntropy: "virtio_rng", featureBalloon: "virtio_balloon",
	featureExt4: "EXT4-fs", featureInitrd: "rootfs image is not initramfs",
	featureFUSE: "fuseblk",
}

// minKernel is the oldest kernel that guests run on: what people install expects as much of it.
const minKernel = "5.10"

var bannerPattern = regexp.MustCompile(`Linux version ([0-9]+\.[0-9]+[0-9A-Za-z.+~_-]*) \(`)

// examineKernel reads an uncompressed kernel, and its configuration if there is one.
func examineKernel(path, config string) (Kernel, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Kernel{}, shoal.ErrFirecrackerKernelFormat.Wrap(err, "%s cannot be read", path)
	}
	if err := checkELF(path, data); err != nil {
		return Kernel{}, err
	}
	banner := bannerPattern.FindSubmatch(data)
	if banner == nil {
		return Kernel{}, shoal.ErrFirecrackerKernelFormat.New("%s is an executable, and no Linux kernel", path)
	}
	k := Kernel{Release: string(banner[1])}
	if CompareVersions(k.Release, minKernel) < 0 {
		return Kernel{}, shoal.ErrFirecrackerKernelFormat.New("%s is Linux %s; %s is the oldest that can be used",
			path, k.Release, minKernel)
	}
	options := embeddedConfig(data)
	if config != "" {
		text, err := os.ReadFile(config)
		if err != nil {
			return Kernel{}, shoal.ErrFirecrackerKernelFormat.Wrap(err, "the configuration %s cannot be read", config)
		}
		options = parseConfig(bytes.NewReader(text))
	}
	k.Features = features(data, options)
	return k, nil
}

// checkELF looks at what a monitor will load: every segment must be in the file.
func checkELF(path string, data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return notELF(path, data, err)
	}
	if f.Machine != machine() {
		return shoal.ErrFirecrackerKernelFormat.New("%s is a kernel for another processor (%s)", path, f.Machine)
	}
	loads := 0
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		loads++
		if p.Off+p.Filesz > uint64(len(data)) {
			return shoal.ErrFirecrackerKernelCut.New("%s is cut off: a part of it ends at %d, the file at %d", path,
				p.Off+p.Filesz, len(data))
		}
	}
	if loads == 0 || f.Entry == 0 {
		return shoal.ErrFirecrackerKernelFormat.New("%s is an ELF file, and nothing in it can be loaded", path)
	}
	return nil
}

// packings are how files of kernels begin that are packed otherwise.
var packings = []struct{ name, begin string }{
	{"gzip", "\x1f\x8b"}, {"xz", "\xfd7zXZ\x00"}, {"zstd", "\x28\xb5\x2f\xfd"}, {"lz4", "\x02\x21\x4c\x18"},
	{"bzip2", "BZh"}, {"a Debian package", "!<arch>\n"},
}

func notELF(path string, data []byte, err error) error {
	if len(data) == 0 {
		return shoal.ErrFirecrackerKernelCut.New("%s is empty", path)
	}
	for _, p := range packings {
		if bytes.HasPrefix(data, []byte(p.begin)) {
			return shoal.ErrFirecrackerKernelPacked.New("%s is packed (%s)", path, p.name)
		}
	}
	if bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return shoal.ErrFirecrackerKernelCut.Wrap(err, "%s is a kernel's beginning and not all of it", path)
	}
	return shoal.ErrFirecrackerKernelFormat.Wrap(err, "%s is no ELF file", path)
}

// Where a kernel has its configuration inside, packed by gzip.
var (
	configBegin = []byte("IKCFG_ST")
	configEnd   = []byte("IKCFG_ED")
)

const maxConfig = 4 << 20 // bytes

// embeddedConfig reads the configuration inside a kernel; nil if it has none.
func embeddedConfig(data []byte) map[string]string {
	from := bytes.Index(data, configBegin)
	if from < 0 {
		return nil
	}
	data = data[from+len(configBegin):]
	to := bytes.Index(data, configEnd)
	if to < 0 {
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data[:to]))
	if err != nil {
		return nil
	}
	return parseConfig(io.LimitReader(r, maxConfig))
}

// parseConfig reads lines such as CONFIG_EXT4_FS=y; what is not set is not in the map.
func parseConfig(r io.Reader) map[string]string {
	options := map[string]string{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if ok && strings.HasPrefix(name, "CONFIG_") {
			options[name] = value
		}
	}
	if len(options) == 0 {
		return nil
	}
	return options
}

// features says where a kernel has what guests need. Without a configuration only what is built
// in shows; the rest is absent, unless it is known to leave no trace.
func features(kernel []byte, options map[string]string) map[string]Presence {
	found := map[string]Presence{}
	for f, option := range featureOptions {
		switch {
		case options != nil && options[option] == "y":
			found[f] = BuiltIn
		case options != nil:
			found[f] = Absent // until its module is found
		case bytes.Contains(kernel, []byte(featureTraces[f])):
			found[f] = BuiltIn
		case f == featureInitrd:
			found[f] = Unknown
		default:
			found[f] = Absent
		}
	}
	return found
}

// errNotPacked means that a file is not a bzImage.
var errNotPacked = errors.New("not a bzImage")
