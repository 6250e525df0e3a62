//go:build !amd64

package main

func hypervisor() string { return "" }
