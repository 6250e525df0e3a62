package sys

import (
	"bytes"
	gocontext "context"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/kernfs"
	"gvisor.dev/gvisor/pkg/sentry/inet"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/state"
)

// netAttributes are the files of an interface in /sys/class/net.
var netAttributes = map[string]func(index int32, i inet.Interface) string{
	"addr_len": func(_ int32, i inet.Interface) string { return fmt.Sprint(macLength) },
	"address": func(_ int32, i inet.Interface) string {
		mac := make(net.HardwareAddr, macLength)
		copy(mac, i.Addr)
		return mac.String()
	},
	"carrier":      func(_ int32, i inet.Interface) string { return "1" },
	"flags":        func(_ int32, i inet.Interface) string { return fmt.Sprintf("%#x", i.Flags) },
	"ifindex":      func(index int32, _ inet.Interface) string { return fmt.Sprint(index) },
	"iflink":       func(index int32, _ inet.Interface) string { return fmt.Sprint(index) },
	"mtu":          func(_ int32, i inet.Interface) string { return fmt.Sprint(i.MTU) },
	"operstate":    operstate,
	"tx_queue_len": func(_ int32, i inet.Interface) string { return "1000" },
	"type":         func(_ int32, i inet.Interface) string { return fmt.Sprint(i.DeviceType) },
}

const macLength = 6

// operstate is "unknown" for loopback, as under Linux.
func operstate(_ int32, i inet.Interface) string {
	switch {
	case i.Flags&linux.IFF_UP == 0:
		return "down"
	case i.Flags&linux.IFF_LOOPBACK != 0:
		return "unknown"
	default:
		return "up"
	}
}

// newNet returns the contents of /sys/class/net and /sys/devices/virtual/net: the interfaces
// that the guest's first namespace has when sysfs is mounted.
func (fs *filesystem) newNet(ctx context.Context, creds *auth.Credentials, k *kernel.Kernel) (class, devices map[string]kernfs.Inode) {
	class, devices = map[string]kernfs.Inode{}, map[string]kernfs.Inode{}
	stack := k.RootNetworkNamespace().Stack()
	if stack == nil {
		return class, devices
	}
	for _, i := range stack.Interfaces() {
		files := map[string]kernfs.Inode{}
		for name := range maps.Keys(netAttributes) {
			f := &netFile{device: i.Name, attribute: name}
			f.DynamicBytesFile.Init(ctx, creds, linux.UNNAMED_MAJOR, fs.devMinor, fs.NextIno(), f, defaultSysMode)
			files[name] = f
		}
		devices[i.Name] = fs.newDir(ctx, creds, defaultSysDirMode, files)
		class[i.Name] = kernfs.NewStaticSymlink(ctx, creds, linux.UNNAMED_MAJOR, fs.devMinor, fs.NextIno(),
			path.Join("../../devices/virtual/net", i.Name))
	}
	return class, devices
}

// netFile is an attribute of an interface.
type netFile struct {
	implStatFS
	kernfs.DynamicBytesFile

	device, attribute string
}

// Generate implements vfs.DynamicBytesSource.Generate.
func (f *netFile) Generate(ctx context.Context, buf *bytes.Buffer) error {
	stack := kernel.KernelFromContext(ctx).RootNetworkNamespace().Stack()
	if stack == nil {
		return linuxerr.ENODEV
	}
	interfaces := stack.Interfaces()
	for _, index := range slices.Sorted(maps.Keys(interfaces)) {
		if i := interfaces[index]; i.Name == f.device {
			fmt.Fprintln(buf, netAttributes[f.attribute](index, i))
			return nil
		}
	}
	return linuxerr.ENODEV
}

// What follows is what stateify would write.

// StateTypeName implements state.Type.
func (f *netFile) StateTypeName() string { return "pkg/sentry/fsimpl/sys.netFile" }

// StateFields implements state.Type.
func (f *netFile) StateFields() []string {
	return []string{"implStatFS", "DynamicBytesFile", "device", "attribute"}
}

// StateSave implements state.SaverLoader.
func (f *netFile) StateSave(sink state.Sink) {
	sink.Save(0, &f.implStatFS)
	sink.Save(1, &f.DynamicBytesFile)
	sink.Save(2, &f.device)
	sink.Save(3, &f.attribute)
}

// StateLoad implements state.SaverLoader.
func (f *netFile) StateLoad(_ gocontext.Context, source state.Source) {
	source.Load(0, &f.implStatFS)
	source.Load(1, &f.DynamicBytesFile)
	source.Load(2, &f.device)
	source.Load(3, &f.attribute)
}

func init() { state.Register((*netFile)(nil)) }
