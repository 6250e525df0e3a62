// Package bootline has what a guest's first program says that its host knows the meaning of.
package bootline

// NoDisk is said, after "init: ", when the kernel shows no disk.
const NoDisk = "there is no /dev/vda"
