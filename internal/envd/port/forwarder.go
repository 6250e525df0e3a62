package port

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// period separates two looks for listeners.
const period = time.Second

// Forwarder keeps one relay per loopback listener. Use New.
type Forwarder struct {
	log    *slog.Logger
	tables []*table
	// address finds where to listen; nil while the guest has no address.
	address func() (net.IP, error)
	rebind  chan struct{}

	// Only Run's goroutine uses the rest.
	external net.IP
	relays   map[listener]*relay // nil if it could not be opened, which was logged
	stopped  []*relay            // their connections may still last
	scanErr  string
}

// New returns a forwarder that listens at the guest's external IPv4 address.
func New(log *slog.Logger) *Forwarder {
	return &Forwarder{log: log, tables: newTables(), address: externalAddress,
		rebind: make(chan struct{}, 1), relays: map[listener]*relay{}}
}

// Rebind says that the guest's address may have changed, as by a resume.
func (f *Forwarder) Rebind() {
	select {
	case f.rebind <- struct{}{}:
	default:
	}
}

// Run looks for listeners once a second until the context ends, and then
// closes all relays and their connections.
func (f *Forwarder) Run(ctx context.Context) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	defer f.closeAll()
	for {
		select {
		case <-tick.C:
			f.look()
		case <-f.rebind:
			f.move()
		case <-ctx.Done():
			return
		}
	}
}

// look opens and closes relays until they match the listeners.
func (f *Forwarder) look() {
	found := map[listener]bool{}
	for _, t := range f.tables {
		if err := t.scan(found); err != nil {
			if err.Error() != f.scanErr { // once a second would be too often
				f.scanErr = err.Error()
				f.log.Warn("listeners cannot be found", "error", err)
			}
			return
		}
	}
	for l, r := range f.relays {
		if !found[l] {
			f.retire(l, r)
		}
	}
	for l := range found {
		// One relay per port is enough; IPv4 is where most servers listen.
		if _, known := f.relays[l]; !known && !(l.ipv6 && found[listener{port: l.port}]) {
			f.open(l)
		}
	}
	f.sweep()
}

func (f *Forwarder) open(l listener) {
	ip, err := f.address()
	if err == nil && ip == nil {
		return // try again next time
	}
	var r *relay
	if err == nil {
		f.external = ip
		r, err = openRelay(ip, l)
	}
	f.relays[l] = r
	if err != nil {
		f.log.Info("a port is not forwarded", "port", l.port, "error", err)
	}
}

func (f *Forwarder) retire(l listener, r *relay) {
	delete(f.relays, l)
	if r != nil {
		r.stop()
		f.stopped = append(f.stopped, r)
	}
}

// sweep forgets stopped relays whose last connection ended.
func (f *Forwarder) sweep() {
	kept := f.stopped[:0]
	for _, r := range f.stopped {
		if r.idle() {
			r.close()
		} else {
			kept = append(kept, r)
		}
	}
	clear(f.stopped[len(kept):])
	f.stopped = kept
}

// move opens all relays anew if the guest's address has changed.
func (f *Forwarder) move() {
	if len(f.relays) == 0 {
		return
	}
	if ip, err := f.address(); err != nil || ip == nil || ip.Equal(f.external) {
		return
	}
	for l, r := range f.relays {
		f.retire(l, r)
	}
	f.look()
}

func (f *Forwarder) closeAll() {
	var closing sync.WaitGroup
	for l, r := range f.relays {
		f.retire(l, r)
	}
	for _, r := range f.stopped {
		closing.Go(r.close)
	}
	closing.Wait()
	for _, t := range f.tables {
		t.close()
	}
}

// externalAddress returns the first global IPv4 address of an interface that is
// up, eth0 before others, or nil.
func externalAddress() (net.IP, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var first net.IP
	var errs error
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok || n.IP.To4() == nil || n.IP.IsLoopback() {
				continue
			}
			if i.Name == "eth0" {
				return n.IP.To4(), nil
			}
			if first == nil {
				first = n.IP.To4()
			}
		}
	}
	if first != nil {
		return first, nil
	}
	return nil, errs
}
