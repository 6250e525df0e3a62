package gvisor

import (
	"testing"

	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/runtime/runtimetest"
)

// TestPromises checks the driver against the promises of every runtime. Some of them need
// Shoal's changes to gVisor, which scripts/gvisor applies before every test run.
func TestPromises(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime { return testDriver(t) },
		runtimetest.Clocks{Frozen: runtimetest.Time{Boot: true}, Restored: runtimetest.Time{Boot: true}})
}

// host is a host with this driver, for tests that look into both.
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

// guest returns the driver's side of the guest.
func (b *booted) guest() *guest { return b.Guest.Guest.(*guest) }
