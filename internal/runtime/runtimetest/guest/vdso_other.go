//go:build !amd64

package main

// libraryBoottime says that there is no way to ask the library.
func libraryBoottime() float64 { return -1 }
