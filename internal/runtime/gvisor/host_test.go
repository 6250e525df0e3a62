package gvisor

import (
	"testing"

	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/runtime/runtimetest"
)

// TestPromises holds the driver to what every runtime promises. Some of it needs Shoal's
// changes to gVisor (scripts/gvisor), as every test run has them.
func TestPromises(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime { return testDriver(t) })
}

// host is a machine of the driver's, for tests that look into both.
type host struct {
	*runtimetest.Host
	driver *Driver
}

func newHost(t *testing.T) *host {
	t.Helper()
	d := testDriver(t)
	return &host{Host: runtimetest.NewHost(t, d), driver: d}
}

// booted is a started guest.
type booted struct {
	*runtimetest.Guest
	host *host
}

func (h *host) start(id, checkpoint string) *booted {
	h.T.Helper()
	return &booted{Guest: h.Start(id, checkpoint), host: h}
}

func (h *host) boot(spec runtime.Spec, slot *network.Slot, checkpoint string) *booted {
	h.T.Helper()
	return &booted{Guest: h.Boot(spec, slot, checkpoint), host: h}
}

// guest is the driver's side of it.
func (b *booted) guest() *guest { return b.Guest.Guest.(*guest) }
