package block

import (
	"errors"
	"fmt"
)

// WriteAt changes what is read from then on. It survives the end of this process when WriteAt
// returns, and a loss of power after Flush. If it fails, each block has its earlier or its later
// content, or both in part.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	err := d.change(off, int64(len(p)), func(o, length int64) error {
		if err := d.writeBytes(p[o-off:o-off+length], o); err != nil {
			return err
		}
		done += int(length)
		return nil
	})
	return done, err
}

// Trim makes whole blocks of the range read as zeros, and take no room. What the range has of other
// blocks is left as it is.
func (d *Disk) Trim(off, length int64) error {
	if err := d.usable(off, length); err != nil {
		return err
	}
	first, end := (off+Size-1)/Size*Size, (off+length)/Size*Size
	if end <= first {
		return nil
	}
	return d.change(first, end-first, func(o, length int64) error {
		return d.zeroBlocks(o/Size, length/Size)
	})
}

// WriteZeroes makes the range read as zeros. With allocate it takes the room that other bytes would.
func (d *Disk) WriteZeroes(off, length int64, allocate bool) error {
	return d.change(off, length, func(o, length int64) error {
		if o%Size != 0 || length%Size != 0 {
			return d.zeroParts(o, length, allocate)
		}
		if allocate {
			return d.writeBlocks(make([]byte, length), o/Size, true)
		}
		return d.zeroBlocks(o/Size, length/Size)
	})
}

// zeroParts is WriteZeroes for a range that begins or ends within a block.
func (d *Disk) zeroParts(off, length int64, allocate bool) error {
	for length > 0 {
		n := min(length, Size-off%Size)
		var err error
		switch {
		case n < Size || allocate:
			err = d.writeBytes(make([]byte, n), off)
		default:
			n = length / Size * Size
			err = d.zeroBlocks(off/Size, n/Size)
		}
		if err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

// change has do change a range, piece by piece, with the locks for that.
func (d *Disk) change(off, length int64, do func(off, length int64) error) error {
	if err := d.usable(off, length); err != nil {
		return err
	}
	err := pieces(off, length, func(o, length int64) error {
		d.gate.RLock()
		defer d.gate.RUnlock()
		if d.closed.Load() {
			return ErrClosed
		}
		if failed := d.failed.Load(); failed != nil {
			return *failed
		}
		lock := d.stripe(o)
		lock.Lock()
		defer lock.Unlock()
		defer d.done.Add(1)
		return do(o, length)
	})
	if err != nil {
		d.noteDamage(err)
	}
	return err
}

// writeBytes writes bytes of one piece; it reads the rest of blocks that they do not fill.
func (d *Disk) writeBytes(p []byte, off int64) error {
	if off%Size == 0 && len(p)%Size == 0 {
		return d.writeBlocks(p, off/Size, false)
	}
	first, end := off/Size, (off+int64(len(p))+Size-1)/Size
	blocks := make([]byte, (end-first)*Size)
	if err := d.read(blocks[:Size], first); err != nil {
		return err
	}
	if last := end - first - 1; last > 0 {
		if err := d.read(blocks[last*Size:], end-1); err != nil {
			return err
		}
	}
	copy(blocks[off-first*Size:], p)
	return d.writeBlocks(blocks, first, false)
}

// writeBlocks keeps blocks of one piece. Zeros on what is not kept need no room, unless allocate.
func (d *Disk) writeBlocks(p []byte, first int64, allocate bool) error {
	for len(p) > 0 {
		length, isZeros := int64(0), false
		for n := int64(len(p) / Size); length < n; length++ {
			z := !allocate && d.entries[first+length].state() != kept && isZero(p[length*Size:(length+1)*Size])
			if length > 0 && z != isZeros {
				break
			}
			isZeros = z
		}
		var err error
		if isZeros {
			err = d.zeroBlocks(first, length)
		} else {
			err = d.keep(p[:length*Size], first)
		}
		if err != nil {
			return err
		}
		p, first = p[length*Size:], first+length
	}
	return nil
}

// keep writes blocks, and what the map knows of them. The process may be killed after each of its
// writes: the place says then which blocks may have other content than the map has checksums of.
func (d *Disk) keep(p []byte, first int64) error {
	n := int64(len(p) / Size)
	more := int64(0)
	for i := range n {
		if d.entries[first+i].state() != kept {
			more++
		}
	}
	if more > 0 && d.kept.Add(more) > d.limit {
		d.kept.Add(-more)
		return fmt.Errorf("%w: %d MiB", ErrFull, d.limit*Size>>20)
	}
	if err := d.writeKept(p, first); err != nil {
		d.kept.Add(-more)
		return err
	}
	return nil
}

func (d *Disk) writeKept(p []byte, first int64) error {
	n := int64(len(p) / Size)
	if err := d.disturb(first); err != nil {
		return err
	}
	place := <-d.places
	defer func() { d.places <- place }()
	if err := d.occupy(place, first, n); err != nil {
		return err
	}
	if _, err := d.file.WriteAt(p, d.head.data()+first*Size); err != nil {
		_, resealErr := d.reseal(first, n) // what was written in part is as it is
		return errors.Join(fmt.Errorf("write block %d of %s: %w", first, d.name, err), resealErr)
	}
	entries := make([]entry, n)
	for i := range n {
		entries[i] = newEntry(first+i, kept, d.head.epoch, checksum(p[i*Size:(i+1)*Size]))
	}
	if err := d.writeEntries(first, entries); err != nil {
		return d.fail(err) // content and checksums may differ now, which only recovery mends
	}
	return nil
}

// writeEntries changes the map, in the file and then in memory.
func (d *Disk) writeEntries(first int64, entries []entry) error {
	p := encodeEntries(make([]byte, 0, len(entries)*8), entries)
	if _, err := d.file.WriteAt(p, mapAt+first*8); err != nil {
		return fmt.Errorf("write the map of %s: %w", d.name, err)
	}
	copy(d.entries[first:], entries)
	return nil
}

// zeroBlocks makes blocks of one piece zeros. The map is changed first: killed in between, the file
// has room that nothing needs.
func (d *Disk) zeroBlocks(first, n int64) error {
	if d.areZeros(first, n) {
		return nil
	}
	if err := d.disturb(first); err != nil {
		return err
	}
	entries := make([]entry, n)
	var holes [][2]int64 // first block, blocks
	for i := range n {
		was := d.entries[first+i]
		entries[i] = was
		if was.state() == zero {
			continue
		}
		entries[i] = newEntry(first+i, zero, d.head.epoch, 0)
		if was.state() == below {
			continue
		}
		if last := len(holes) - 1; last >= 0 && holes[last][0]+holes[last][1] == first+i {
			holes[last][1]++
		} else {
			holes = append(holes, [2]int64{first + i, 1})
		}
	}
	known := int64(0)
	for i := range n {
		if d.entries[first+i].state() == kept {
			known++
		}
	}
	if err := d.writeEntries(first, entries); err != nil {
		return d.fail(err)
	}
	d.kept.Add(-known)
	for _, hole := range holes {
		if err := d.file.Punch(d.head.data()+hole[0]*Size, hole[1]*Size); err != nil {
			return fmt.Errorf("discard block %d of %s: %w", hole[0], d.name, err)
		}
	}
	return nil
}

// areZeros tells whether all blocks are known to be zeros.
func (d *Disk) areZeros(first, n int64) bool {
	for n > 0 {
		is, length := d.run(first, n)
		if is != zero && (is != below || !d.below.Zeros(first*Size, length*Size)) {
			return false
		}
		first, n = first+length, n-length
	}
	return true
}
