package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// callVDSO calls a function of the kernel's library that takes a clock and where its time goes.
//
//go:noescape
func callVDSO(function uintptr, clock int64, time *[2]int64)

// libraryBoottime asks the library that the kernel maps into each process (vdso(7)), as libc
// does. It returns -1 if there is none.
func libraryBoottime() float64 {
	function, err := libraryFunction("__vdso_clock_gettime")
	if err != nil {
		return -1
	}
	var t [2]int64
	callVDSO(function, unix.CLOCK_BOOTTIME, &t)
	return float64(t[0]) + float64(t[1])/1e9
}

// libraryFunction finds a function's address.
func libraryFunction(name string) (uintptr, error) {
	auxv, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return 0, err
	}
	const sysinfoEhdr, pages = 33, 2 // AT_SYSINFO_EHDR; the library's size
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if binary.NativeEndian.Uint64(auxv) != sysinfoEhdr {
			continue
		}
		at := binary.NativeEndian.Uint64(auxv[8:])
		memory, err := os.Open("/proc/self/mem")
		if err != nil {
			return 0, err
		}
		defer memory.Close()
		library := make([]byte, pages*4096)
		if n, err := memory.ReadAt(library, int64(at)); n == 0 && err != io.EOF {
			return 0, err
		}
		return libraryOffset(library, name, uintptr(at))
	}
	return 0, fmt.Errorf("no library")
}

func libraryOffset(library []byte, name string, at uintptr) (uintptr, error) {
	file, err := elf.NewFile(bytes.NewReader(library))
	if err != nil {
		return 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == name {
			return at + uintptr(s.Value-file.Progs[0].Vaddr), nil
		}
	}
	return 0, fmt.Errorf("no %s", name)
}
