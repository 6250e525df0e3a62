// Command guestinit is the first program of a microVM; see internal/runtime/firecracker/guestinit.
package main

import (
	"runtime"

	"shoal/internal/runtime/firecracker/guestinit"
)

// The first thread stays where it is: others of this program enter the guest's mounts.
func init() { runtime.LockOSThread() }

func main() { guestinit.Main() }
