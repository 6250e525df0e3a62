package page

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"shoal/internal/sparse"
)

// changes reads what a dump has, and makes an index of it.
type changes struct {
	removed *Set // pages that are zero if the dump has nothing of them
	based   bool // the dump stands on another memory, so that zeros must be said
	// keep brings the pages of data, none of which is zero, into the layer, the first of them
	// being page of the guest, and returns which page of the file that is now.
	keep func(page uint32, data []byte) (at uint32, err error)
	kept *Kept
	x    index
}

// read reads a dump of a number of pages. Of holes it reads nothing.
func (c *changes) read(ctx context.Context, f *os.File, pages uint32) error {
	buf := make([]byte, chunk*Size)
	next := uint32(0) // the page after those that were dealt with
	err := sparse.Each(f, int64(pages)*Size, func(start, end int64) error {
		// Firecracker writes whole pages; what is around a part of one is zero.
		first, last := uint32(start/Size), uint32((end+Size-1)/Size)
		first = max(first, next)
		c.hole(next, first)
		for next = first; next < last; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(last-next, chunk)
			if _, err := f.ReadAt(buf[:n*Size], int64(next)*Size); err != nil {
				return err
			}
			if err := c.data(next, buf[:n*Size]); err != nil {
				return err
			}
			next += n
		}
		return nil
	})
	if err == nil {
		c.hole(next, pages)
	}
	return err
}

// data takes pages that the dump has.
func (c *changes) data(page uint32, data []byte) error {
	for len(data) > 0 {
		zero := bytes.Equal(data[:Size], zeroPages[:Size])
		n := uint32(1)
		for int(n)*Size < len(data) && bytes.Equal(data[n*Size:][:Size], zeroPages[:Size]) == zero {
			n++
		}
		c.kept.Changed += int(n)
		if zero {
			c.kept.Zero += int(n)
			if c.based {
				c.x.addZeros(page, n)
			}
		} else {
			at, err := c.keep(page, data[:n*Size])
			if err != nil {
				return err
			}
			for i := range n {
				c.x.add(page+i, at+i, checksum(data[i*Size:][:Size]))
			}
		}
		page, data = page+n, data[n*Size:]
	}
	return nil
}

// hole takes pages that the dump does not have. A balloon gives pages back without the
// guest's writing to them, so Firecracker does not count them as changed; but the guest has
// zeros there, and would otherwise find what the layers below have.
func (c *changes) hole(first, end uint32) {
	if !c.based || c.removed == nil {
		return
	}
	for first < end {
		in, n := c.removed.run(first, end-first)
		if n == 0 { // beyond the set
			return
		}
		if in {
			c.x.addZeros(first, n)
			c.kept.Given += int(n)
		}
		first += n
	}
}

// probeHoles fails if a file system tells of data in larger units than pages. Around a page
// that Firecracker wrote there would be others, which look as if they had become zero.
func probeHoles(dir string) error {
	f, err := os.CreateTemp(dir, ".holes-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	const size, written = 4 * HugeSize, HugeSize + HugeSize/2
	if err := f.Truncate(size); err != nil {
		return err
	}
	page := bytes.Repeat([]byte{1}, Size)
	if _, err := f.WriteAt(page, written); err != nil {
		return err
	}
	var start, end int64
	err = sparse.Each(f, size, func(s, e int64) error {
		if end == 0 {
			start = s
		}
		end = e
		return nil
	})
	if err == nil && (start != written || end != written+Size) {
		err = fmt.Errorf("the file system of %s tells of written data in larger units than %d bytes (%d for one page), "+
			"so what a guest has changed cannot be told from it; have memory written to another file system: "+
			"ext4, XFS or Btrfs with blocks of 4 KiB, or tmpfs without huge pages", dir, Size, end-start)
	}
	return err
}
