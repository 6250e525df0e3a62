package block

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

const (
	pieceBlocks = 256 // are locked together; requests are done piece by piece
	pieceSize   = pieceBlocks * Size
	stripes     = 64
)

// Disk is an overlay that is open for writing. All of its methods may be called at once.
//
// Locks are taken in this order: flushing, gate, a stripe, regionLock.
type Disk struct {
	store
	limit int64 // blocks that may be kept
	log   *slog.Logger

	// gate is held for reading by all who change something, and for writing by those who want nothing
	// to change meanwhile.
	gate    sync.RWMutex
	stripes [stripes]sync.RWMutex // of pieces: guard entries, and what they speak of
	places  chan int64            // that are free

	regionBlocks int64
	looks        int // flushes between two looks for regions that are at rest
	regions      []region
	regionLock   sync.Mutex // guards bits
	bits         []byte     // the regions as the file has them

	kept     atomic.Int64 // blocks
	done     atomic.Int64 // changes that were made
	flushing sync.Mutex   // guards synced and flushes
	synced   int64        // changes that survive a loss of power
	flushes  int
	// failed is set when the file could not be made durable: nobody knows then what of it is.
	failed atomic.Pointer[error]
	closed atomic.Bool

	recovered int64 // blocks
	mended    bool  // recover has removed what was left of writes
}

// Options are what a disk is opened with.
type Options struct {
	Path  string  // of the overlay
	Below Backing // which the caller closes, after the disk
	Size  int64   // of the disk, in bytes; only for Create; at least that of Below
	// Limit bounds what the overlay keeps, in bytes. 0 bounds nothing.
	Limit int64
	Log   *slog.Logger // of damage and recoveries; may be nil

	regionBlocks int64 // a multiple of pieceBlocks; for tests, as looks is
	looks        int
}

// Create makes an empty overlay.
func Create(o Options) (*Disk, error) {
	if o.Size <= 0 || o.Size > MaxDisk || o.Size%Size != 0 {
		return nil, fmt.Errorf("a disk has a multiple of %d bytes up to %d, not %d", Size, int64(MaxDisk), o.Size)
	}
	if o.Size < o.Below.Size() {
		return nil, fmt.Errorf("a disk of %d bytes is smaller than its base of %d", o.Size, o.Below.Size())
	}
	if len(o.Below.Name()) > maxName {
		return nil, fmt.Errorf("the name of a disk's base has %d bytes, more than %d", len(o.Below.Name()), maxName)
	}
	f, err := os.OpenFile(o.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the overlay of a disk: %w", err)
	}
	remove := func(err error) (*Disk, error) {
		f.Close()
		os.Remove(o.Path)
		return nil, fmt.Errorf("make the overlay of a disk: %w", err)
	}
	if err := lock(f); err != nil {
		return remove(err)
	}
	if err := f.Truncate(dataOffset(o.Size) + o.Size); err != nil {
		return remove(err)
	}
	boot, err := bootID()
	if err != nil {
		return remove(err)
	}
	d, err := create(osFile{f}, o, boot)
	if err != nil {
		return remove(err)
	}
	return d, nil
}

func create(f file, o Options, boot [16]byte) (*Disk, error) {
	d := newDisk(f, o)
	d.head = header{size: o.Size, epoch: 1, id: newID(), boot: boot, below: o.Below.Name()}
	if err := d.writeHeader(); err != nil {
		return nil, err
	}
	d.entries = make([]entry, d.head.blocks())
	d.ready()
	return d, nil
}

// Open opens an overlay that was closed, or whose server or machine was killed.
func Open(o Options) (*Disk, error) {
	f, err := os.OpenFile(o.Path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the overlay of a disk: %w", err)
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("open the overlay of a disk: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		f.Close()
		return nil, err
	}
	d, err := open(osFile{f}, o, boot)
	if err != nil {
		f.Close()
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Size() != d.head.data()+d.head.size {
		f.Close()
		return nil, errors.Join(&DamageError{File: o.Path, Block: -1, What: "it is not as long as it was"}, err)
	}
	return d, nil
}

func open(f file, o Options, boot [16]byte) (*Disk, error) {
	d := newDisk(f, o)
	if err := d.load(); err != nil {
		return nil, err
	}
	if d.head.flags&flagSealed != 0 {
		return nil, fmt.Errorf("%s is a layer, which does not change any more", o.Path)
	}
	if err := d.recover(boot); err != nil {
		return nil, err
	}
	d.ready()
	return d, nil
}

func newDisk(f file, o Options) *Disk {
	d := &Disk{store: store{file: f, name: o.Path, below: o.Below}, log: o.Log, limit: MaxDisk / Size}
	if d.name == "" {
		d.name = "overlay"
	}
	if o.Limit > 0 {
		d.limit = o.Limit / Size
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.regionBlocks, d.looks = cmp.Or(o.regionBlocks, regionBlocks), cmp.Or(o.looks, looks)
	return d
}

// ready sets up what follows from header and map.
func (d *Disk) ready() {
	d.places = make(chan int64, places)
	for i := range int64(places) {
		d.places <- i
	}
	if d.regions == nil {
		d.makeRegions()
	}
	for _, e := range d.entries {
		if e.state() == kept {
			d.kept.Add(1)
		}
	}
}

func (d *Disk) makeRegions() {
	d.regions = make([]region, (d.head.blocks()+d.regionBlocks-1)/d.regionBlocks)
	d.bits = make([]byte, (len(d.regions)+7)/8)
}

func (d *Disk) writeHeader() error {
	if _, err := d.file.WriteAt(d.head.encode(), 0); err != nil {
		return fmt.Errorf("write the header of %s: %w", d.name, err)
	}
	return nil
}

// Size is that of the disk in bytes.
func (d *Disk) Size() int64 { return d.head.size }

// Kept is how many bytes the overlay keeps; zeros take nothing.
func (d *Disk) Kept() int64 { return d.kept.Load() * Size }

// Recovered is how many blocks, when the disk was opened, were found half written and taken as they
// are. None of them was flushed as it was written last.
func (d *Disk) Recovered() int64 { return d.recovered }

// usable tells whether anything may be asked of the disk.
func (d *Disk) usable(off, length int64) error {
	if d.closed.Load() {
		return ErrClosed
	}
	if off < 0 || length < 0 || off > d.head.size-length {
		return fmt.Errorf("%w: %d bytes at %d, of %d", ErrRange, length, off, d.head.size)
	}
	return nil
}

// pieces calls do for each part of a range that lies in one piece, until an error.
func pieces(off, length int64, do func(off, length int64) error) error {
	for length > 0 {
		n := min(length, pieceSize-off%pieceSize)
		if err := do(off, n); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

func (d *Disk) stripe(off int64) *sync.RWMutex { return &d.stripes[off/pieceSize%stripes] }

// ReadAt reads what was written last. Damage is a DamageError, and logged.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.usable(off, int64(len(p))); err != nil {
		return 0, err
	}
	at := off
	err := pieces(off, int64(len(p)), func(o, length int64) error {
		lock := d.stripe(o)
		lock.RLock()
		defer lock.RUnlock()
		at = o
		return d.readBytes(p[o-off:o-off+length], o)
	})
	if err != nil {
		d.noteDamage(err)
		return int(at - off), err
	}
	return len(p), nil
}

// readBytes reads bytes of one piece.
func (d *Disk) readBytes(p []byte, off int64) error {
	if off%Size == 0 && len(p)%Size == 0 {
		return d.read(p, off/Size)
	}
	first, end := off/Size, (off+int64(len(p))+Size-1)/Size
	blocks := make([]byte, (end-first)*Size)
	if err := d.read(blocks, first); err != nil {
		return err
	}
	copy(p, blocks[off-first*Size:])
	return nil
}

func (d *Disk) noteDamage(err error) {
	var damage *DamageError
	if errors.As(err, &damage) {
		d.log.Error("a disk is damaged", "file", filepath.Base(damage.File), "block", damage.Block, "what", damage.What)
	}
}

// Close makes all durable and ends the use of the file. It waits for what is under way.
func (d *Disk) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.flushing.Lock()
	defer d.flushing.Unlock()
	d.gate.Lock()
	defer d.gate.Unlock()
	err := d.settle()
	return errors.Join(err, d.file.Close())
}

// settle leaves the file as one that needs no recovery.
func (d *Disk) settle() error {
	if failed := d.failed.Load(); failed != nil {
		return *failed
	}
	if err := d.sync(); err != nil {
		return err
	}
	d.head.flags |= flagClosed
	d.head.mapSum = mapSum(d.entries)
	clear(d.bits)
	if _, err := d.file.WriteAt(d.bits, regionsAt); err != nil {
		return fmt.Errorf("write %s: %w", d.name, err)
	}
	if err := d.writeHeader(); err != nil {
		return err
	}
	return d.sync()
}

// Abandon ends the use of a file that nobody will open again.
func (d *Disk) Abandon() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.gate.Lock()
	defer d.gate.Unlock()
	return d.file.Close()
}
