package block

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// region is 64 MiB of the disk. Before a block of it is written, a bit in the file says so, durably:
// after a loss of power only in such regions can the content differ from the checksums, because the
// two reach the disk in any order.
type region struct {
	disturbed atomic.Bool // the bit is set, durably
	touched   atomic.Bool // something was written since the last look
}

const looks = 16

// disturb sets the bit of the region of a block, if it is not set.
func (d *Disk) disturb(block int64) error {
	index := block / d.regionBlocks
	r := &d.regions[index]
	r.touched.Store(true)
	if r.disturbed.Load() {
		return nil
	}
	d.regionLock.Lock()
	defer d.regionLock.Unlock()
	if r.disturbed.Load() {
		return nil
	}
	d.bits[index/8] |= 1 << (index % 8)
	if err := d.writeBits(index); err != nil {
		return err
	}
	if err := d.sync(); err != nil {
		return err
	}
	r.disturbed.Store(true)
	return nil
}

func (d *Disk) writeBits(index int64) error {
	if _, err := d.file.WriteAt(d.bits[index/8:index/8+1], regionsAt+index/8); err != nil {
		return fmt.Errorf("write the regions of %s: %w", d.name, err)
	}
	return nil
}

// Flush returns when all that was written before survives a loss of power. After an error, nothing
// more is written: what became of it is not known.
func (d *Disk) Flush() error {
	if d.closed.Load() {
		return ErrClosed
	}
	before := d.done.Load()
	d.flushing.Lock()
	defer d.flushing.Unlock()
	if failed := d.failed.Load(); failed != nil {
		return *failed
	}
	if d.synced >= before { // another one's flush began after these changes
		return nil
	}
	if d.closed.Load() {
		return ErrClosed
	}
	if d.flushes++; d.flushes%d.looks == 0 {
		if err := d.rest(); err != nil {
			return err
		}
	}
	changes := d.done.Load()
	if err := d.sync(); err != nil {
		return err
	}
	d.synced = changes
	return nil
}

// rest clears the bits of regions that nobody has written to since the last look, which was followed
// by a flush.
func (d *Disk) rest() error {
	d.gate.Lock()
	defer d.gate.Unlock()
	d.regionLock.Lock()
	defer d.regionLock.Unlock()
	for i := range d.regions {
		r := &d.regions[i]
		if !r.disturbed.Load() || r.touched.Swap(false) {
			continue
		}
		d.bits[i/8] &^= 1 << (i % 8)
		if err := d.writeBits(int64(i)); err != nil {
			return err
		}
		r.disturbed.Store(false)
	}
	return nil
}

// sync makes the file durable. Linux forgets after an error what it could not write, so there is no
// second try.
func (d *Disk) sync() error {
	if err := d.file.Sync(); err != nil {
		return d.fail(fmt.Errorf("make %s durable: %w", d.name, err))
	}
	return nil
}

// fail makes err the answer to all changes and flushes from now on.
func (d *Disk) fail(err error) error {
	if d.failed.CompareAndSwap(nil, &err) {
		d.log.Error("a disk takes no more changes", "err", err)
	}
	return err
}

// occupy says in the file that blocks are being written. The place keeps that when they are; the next
// one in it takes its place.
func (d *Disk) occupy(place, first, n int64) error {
	var p [placeSize]byte
	binary.LittleEndian.PutUint64(p[:], uint64(first))
	binary.LittleEndian.PutUint64(p[8:], uint64(n))
	if _, err := d.file.WriteAt(p[:], placesAt+place*placeSize); err != nil {
		return fmt.Errorf("write the places of %s: %w", d.name, err)
	}
	return nil
}

// recover brings content and checksums into line where they may differ, and says in the file that it
// is in use.
func (d *Disk) recover(boot [16]byte) error {
	d.makeRegions()
	if _, err := d.file.ReadAt(d.bits, regionsAt); err != nil {
		return fmt.Errorf("read the regions of %s: %w", d.name, err)
	}
	if last := len(d.regions) % 8; last != 0 {
		d.bits[len(d.bits)-1] &= 1<<last - 1
	}
	var err error
	switch {
	case d.head.flags&flagClosed != 0:
		clear(d.bits)
	case d.head.boot == boot:
		err = d.recoverPlaces()
	default:
		err = d.recoverRegions()
	}
	if err != nil {
		return err
	}
	for i := range d.regions {
		d.regions[i].disturbed.Store(d.bits[i/8]&(1<<(i%8)) != 0)
	}
	for _, e := range d.entries { // the header may be older than the map
		if e != unknown {
			d.head.epoch = max(d.head.epoch, e.epoch())
		}
	}
	if d.recovered > 0 {
		d.log.Warn("blocks of a disk were half written and are taken as they are", "file", d.name, "blocks", d.recovered)
	}
	if d.head.flags&flagClosed == 0 && d.head.boot == boot {
		if d.mended {
			return d.sync()
		}
		return nil // the file says already that it is in use
	}
	if err := d.sync(); err != nil { // what was found, before the header says that it was
		return err
	}
	d.head.flags &^= flagClosed
	d.head.boot = boot
	if err := d.writeHeader(); err != nil {
		return err
	}
	return d.sync()
}

// recoverPlaces looks at what was being written when the server was killed. The machine has kept all
// else as it was.
func (d *Disk) recoverPlaces() error {
	p := make([]byte, places*placeSize)
	if _, err := d.file.ReadAt(p, placesAt); err != nil {
		return fmt.Errorf("read the places of %s: %w", d.name, err)
	}
	for ; len(p) > 0; p = p[placeSize:] {
		first, n := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
		if n == 0 || n > pieceBlocks || first > uint64(d.head.blocks()) || first+n > uint64(d.head.blocks()) {
			continue // never used, or nothing that occupy wrote
		}
		found, err := d.reseal(int64(first), int64(n))
		if err != nil {
			return err
		}
		d.recovered += found
	}
	return nil
}

// recoverRegions looks at all that may have been written since the last flush before power was lost.
func (d *Disk) recoverRegions() error {
	for i := range d.regions {
		if d.bits[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		end := min(int64(i+1)*d.regionBlocks, d.head.blocks())
		for first := int64(i) * d.regionBlocks; first < end; first += pieceBlocks {
			found, err := d.reseal(first, min(pieceBlocks, end-first))
			if err != nil {
				return err
			}
			d.recovered += found
		}
	}
	return nil
}

// reseal gives kept blocks the checksums of what they have, and returns how many had others. What the
// file has of blocks that are not kept is removed: a write that was lost is not to come back in part.
func (d *Disk) reseal(first, n int64) (found int64, err error) {
	p := make([]byte, Size)
	for block := first; block < first+n; block++ {
		at := d.head.data() + block*Size
		if _, err := d.file.ReadAt(p, at); err != nil {
			return found, fmt.Errorf("read block %d of %s: %w", block, d.name, err)
		}
		was := d.entries[block]
		if was.state() != kept {
			if !isZero(p) {
				d.mended = true
				if err := d.file.Punch(at, Size); err != nil {
					return found, fmt.Errorf("discard block %d of %s: %w", block, d.name, err)
				}
			}
			continue
		}
		sum := checksum(p)
		if sum == was.sum() {
			continue
		}
		found++
		if err := d.writeEntries(block, []entry{newEntry(block, kept, d.head.epoch, sum)}); err != nil {
			return found, err
		}
	}
	return found, nil
}
