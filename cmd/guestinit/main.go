// Command guestinit is the first program of a microVM; see internal/runtime/firecracker/guestinit.
package main

import "shoal/internal/runtime/firecracker/guestinit"

func main() { guestinit.Main() }
