// Command kernel is the sandbox kernel that shoal embeds and executes, one process per
// guest. It is not meant to be run by users.
package main

import (
	"fmt"
	"os"

	"shoal/internal/runtime/gvisor/kernel"
)

func main() {
	kernel.Run()
	fmt.Fprintln(os.Stderr, "This is Shoal's sandbox kernel; shoal executes it for every guest.")
	os.Exit(2)
}
