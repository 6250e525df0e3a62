package firecracker

// BootArguments are the kernel's.
const BootArguments = bootArguments
