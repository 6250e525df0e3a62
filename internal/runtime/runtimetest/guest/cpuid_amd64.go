package main

import "encoding/binary"

// cpuid is the processor's instruction of that name.
func cpuid(leaf uint32) (a, b, c, d uint32)

// hypervisor is its name, as the processor tells.
func hypervisor() string {
	_, b, c, d := cpuid(0x40000000)
	var name []byte
	for _, part := range []uint32{b, c, d} {
		name = binary.LittleEndian.AppendUint32(name, part)
	}
	return string(name)
}
