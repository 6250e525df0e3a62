package inet

// loopbackResetter is a Stack that can take its loopback interface down.
type loopbackResetter interface {
	// ResetLoopback makes loopback what it is in a new namespace under Linux: down, and without
	// addresses.
	ResetLoopback()
}
