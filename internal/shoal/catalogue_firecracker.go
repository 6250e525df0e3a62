package shoal

// Running microVMs by Firecracker. Operators read these; a tenant is told that the guest did not
// start.
var (
	ErrFirecrackerMissing = kind("firecracker.missing", 404,
		"No build of Firecracker is imported on this machine under that name.",
		"See `shoal firecracker list`; import a build by `shoal firecracker import FILE`, or a release by "+
			"`shoal firecracker download VERSION`.")
	ErrFirecrackerName = kind("firecracker.name", 400,
		"Names of programs and kernels are parts of paths.",
		"Choose another one by --name.")
	ErrFirecrackerExists = kind("firecracker.exists", 400,
		"Guests and snapshots may need what is imported under that name, so it is not replaced.",
		"Import it under another --name, or remove the other first.")
	ErrFirecrackerProgram = kind("firecracker.program", 400,
		"The file is no build of Firecracker, or its jailer, that runs on this machine.",
		"Name the program firecracker, or a release's archive (.tgz); the jailer is expected beside it, or named by --jailer.")
	ErrFirecrackerVersion = kind("firecracker.version", 400,
		"Firecracker and its jailer are to be of one version, and not too old.",
		"Take both from one release.")
	ErrFirecrackerStatic = kind("firecracker.static", 400,
		"The program needs shared libraries, and in its jail there are none.",
		"Take a release's, or build it for musl as Firecracker's documentation says.")
	ErrFirecrackerChanged = kind("firecracker.changed", 500,
		"A program or kernel in the directory of programs was changed, cut off or removed since it was imported.",
		"Remove it and import it again; snapshots that it took need the very same build.")
	ErrFirecrackerDownload = kind("firecracker.download", 500,
		"The release cannot be fetched: the version does not exist, or this machine does not reach the project's server.",
		"Correct the version; or fetch the archive elsewhere and name its file to `shoal firecracker import`.")
	ErrFirecrackerChecksum = kind("firecracker.checksum", 500,
		"The archive is not what its checksum says: it came in part, or was changed on the way.",
		"Try again; if it happens twice, compare the checksum with that on the project's page.")
)

// Kernels of microVMs.
var (
	ErrFirecrackerKernelMissing = kind("firecracker.kernel_missing", 404,
		"No guest kernel is imported on this machine under that name.",
		"See `shoal kernel list`; prepare Debian's by `shoal kernel from-debian`, or import one by `shoal kernel import FILE`.")
	ErrFirecrackerKernelFormat = kind("firecracker.kernel_format", 400,
		"Firecracker loads an uncompressed kernel for the machine's own processor: an ELF file, mostly called vmlinux.",
		"Take the vmlinux of a kernel's build, or Debian's by `shoal kernel from-debian`.")
	ErrFirecrackerKernelPacked = kind("firecracker.kernel_packed", 400,
		"The kernel is packed, and Firecracker's releases load none that is (they say \"failed to load ELF kernel image\").",
		"Unpack the file first. What `shoal kernel import` can unpack by itself is a bzImage (vmlinuz) for x86.")
	ErrFirecrackerKernelCut = kind("firecracker.kernel_cut", 400,
		"The kernel's file is not all of it: a download or copy broke off (Firecracker says \"failed to load ELF kernel image\").",
		"Copy or download it again, and compare its size or checksum.")
	ErrFirecrackerKernelDrivers = kind("firecracker.kernel_drivers", 400,
		"The kernel lacks a driver that every guest needs, built in or as a module; without virtio disks it says "+
			"\"Cannot open root device vda\".",
		"Name its modules by --modules, or take a kernel that has them built in (CONFIG_VIRTIO_MMIO, CONFIG_VIRTIO_BLK, "+
			"CONFIG_VIRTIO_NET, CONFIG_VIRTIO_VSOCKETS, CONFIG_EXT4_FS).")
	ErrFirecrackerKernelDebian = kind("firecracker.kernel_debian", 500,
		"Debian's kernel cannot be prepared: it needs apt and dpkg with package sources that are reached.",
		"Run `apt-get update`, or name the file of a package: `shoal kernel from-debian linux-image-….deb`.")
)

// What microVMs are run from elsewhere, which `shoal firecracker inspect` looks at.
var (
	ErrFirecrackerInspect = kind("firecracker.inspect", 400,
		"What is to be looked at does not exist or cannot be read.",
		"Correct the path; a symbolic link may lead to another file than the one that was changed.")
	ErrFirecrackerDiskPartitions = kind("firecracker.disk_partitions", 400,
		"A guest's disk is a bare ext4 file system, and this one has partitions.",
		"Copy the partition out: `sfdisk -d FILE` says where it begins, `dd if=FILE of=rootfs.ext4 bs=512 skip=START count=SIZE` copies it.")
	ErrFirecrackerDiskFormat = kind("firecracker.disk_format", 400,
		"A guest's disk is a bare ext4 file system, not packed.",
		"Unpack it, or convert it: `qemu-img convert -O raw`.")
	ErrFirecrackerDiskCut = kind("firecracker.disk_cut", 400,
		"The disk's file is shorter than the file system in it: a copy broke off, or only the file was made smaller.",
		"Copy it again, or run `resize2fs` on it before the file is cut.")
	ErrFirecrackerMetadata = kind("firecracker.metadata", 400,
		"The description names programs by versions that are not on this machine, or cannot be read.",
		"Import them under these names (--name), or correct metadata.json.")
	ErrFirecrackerSizeFile = kind("firecracker.size_file", 400,
		"A file with a size has something else in it. E2B's programs take no line's end there either.",
		"Write the number alone: `printf %s SIZE > size.txt`.")
	ErrFirecrackerInit = kind("firecracker.init", 400,
		"A machine whose first program cannot be executed stops at once (\"kernel panic: no working init found\").",
		"Make it executable (chmod 755) and begin a script with #!/bin/sh; its first two bytes are 23 21 (hex).")
)

// Starts of microVMs.
var (
	ErrFirecrackerKVM = kind("firecracker.kvm", 500,
		"There is no usable /dev/kvm: the processor's virtualization is off, or this is a virtual machine without nested virtualization.",
		"Switch virtualization on in the firmware or at the hypervisor, and load the module: `modprobe kvm-intel` or "+
			"`modprobe kvm-amd`; or set runtimes=gvisor.")
	ErrFirecrackerLoadKernel = kind("firecracker.load_kernel", 500,
		"Firecracker cannot load the guest's kernel, which was changed, cut off or packed since it was imported.",
		"Run `shoal firecracker verify`; remove the kernel and import it again.")
	ErrFirecrackerNoDisk = kind("firecracker.no_disk", 500,
		"The guest's kernel has no driver of its disk (virtio over MMIO, ext4), built in or as a module that was imported with it.",
		"See what `shoal kernel list` says of the kernel; import it with --modules, or take Debian's by `shoal kernel from-debian`.")
	ErrFirecrackerNoInit = kind("firecracker.no_init", 500,
		"The guest's kernel did not take the first root file system that Shoal gives it, which has the first program.",
		"Take a kernel with CONFIG_BLK_DEV_INITRD, such as Debian's by `shoal kernel from-debian`.")
	ErrFirecrackerInitEnded = kind("firecracker.init_ended", 500,
		"The guest's first program ended, which stops its kernel.",
		"The guest's console, which the error ends with, says why; report it.")
	ErrFirecrackerHugePages = kind("firecracker.huge_pages", 500,
		"The snapshot needs pages of 2 MiB, and the host has not set enough of them aside.",
		"Set them aside: `sysctl vm.nr_hugepages=N`, with N half the guest's memory in MiB, and keep it in /etc/sysctl.d.")
	ErrFirecrackerTap = kind("firecracker.tap", 500,
		"The host's kernel has no tap devices, or another process uses the guest's.",
		"Load the module: `modprobe tun`; `shoal down` ends what an earlier run left.")
	ErrFirecrackerNBD = kind("firecracker.nbd", 500,
		"The host's kernel attaches no disks over NBD: its nbd module is not loaded, is older than Linux 5.14, or Shoal runs in "+
			"a network namespace of its own. Disks of microVMs are then copies of whole files.",
		"`modprobe nbd nbds_max=0 max_part=0`, `echo nbd >/etc/modules-load.d/nbd.conf` and `echo options nbd nbds_max=0 "+
			"max_part=0 >/etc/modprobe.d/nbd.conf`; then start Shoal again, in the host's network namespace.")
	ErrFirecrackerNBDFull = kind("firecracker.nbd_full", 500,
		"All NBD devices of the host are in use, and its kernel makes no more: guests' disks, what else uses them (`lsblk`), "+
			"or what a crash has left.",
		"End what uses them; `shoal down` detaches what an earlier run left. A module loaded with max_part=0 has numbers for "+
			"most: `modprobe -r nbd && modprobe nbd nbds_max=0 max_part=0`.")
	ErrFirecrackerUserfault = kind("firecracker.userfault", 500,
		"The host does not let Firecracker have its memory served page by page (userfaultfd): its kernel is older than Linux 4.11 "+
			"or has no CONFIG_USERFAULTFD; a filter of system calls refuses it, as those of containers do; or only root may have "+
			"it, which Firecracker in its jail is not. A restore then reads all of the memory from a file first.",
		"Run Linux 6.1 or later with CONFIG_USERFAULTFD, or set `sysctl vm.unprivileged_userfaultfd=1` and keep it in "+
			"/etc/sysctl.d; run Shoal where no filter refuses the call. Then start Shoal again.")
	ErrFirecrackerAPI = kind("firecracker.api", 500,
		"Firecracker refused a request, or did not answer it.",
		"The error has Firecracker's own words; its log and the guest's console are beside it.")
	ErrFirecrackerHoles = kind("firecracker.holes", 400,
		"A layer of a template has the holes of files as zeros, and with them it would be larger than the guest's disk.",
		"Remove files with large holes at the end of the step, or have them made when a sandbox begins.")
	ErrFirecrackerDisk = kind("firecracker.disk", 400,
		"Something other than the guest's kernel has written to its disk, or has changed which features its file system has.",
		"Leave /dev/vda to the kernel. If nothing of the template writes to it, report this.")
	ErrFirecrackerDriver = kind("firecracker.unsupported", 501,
		"Guests under Firecracker cannot do this yet.",
		"Use a template that runs under gVisor, which can.")
)
