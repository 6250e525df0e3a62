package page

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// A layer is a file of three parts:
//
//	data     pages, each at a multiple of Size; between them there may be holes
//	index    which pages of the guest are in the layer and where, and a checksum of each
//	footer   what the layer is, and where the index is
//
// The index and the footer come last, so that a file which Firecracker wrote becomes a
// layer where it lies: its pages are at the offsets that they have in the guest's memory.
// In a layer that was packed they follow each other. The index tells both in the same way.
//
// Each page has a checksum of its own. It is compared whenever the page is read, so what is
// given to a guest was right at that time, and no more is read than is asked for.
//
// All numbers are little-endian.

const (
	footerSize  = 128
	formVersion = 1
	runSize     = 12
	sumSize     = 4
)

var magic = [8]byte{'S', 'H', 'O', 'A', 'L', 'M', 'E', 'M'}

// LayerID names a layer. The zero value is none.
type LayerID [16]byte

func newLayerID() (id LayerID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

func (id LayerID) String() string { return hex.EncodeToString(id[:]) }

// parseLayerID reads what String wrote.
func parseLayerID(s string) (id LayerID, err error) {
	if len(s) != hex.EncodedLen(len(id)) {
		return id, fmt.Errorf("%q is no name of a layer", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil || id.String() != s || id == (LayerID{}) {
		return id, fmt.Errorf("%q is no name of a layer", s)
	}
	return id, nil
}

// header is what a footer says.
type header struct {
	id      LayerID
	parent  LayerID // what the layer stands on; zero if on nothing
	depth   uint32  // how many layers are below
	pages   uint64  // of the guest's memory
	backing uint32  // size of the pages that the guest's memory had on its host, in bytes
	data    uint64  // pages in the file that the index tells of
	index   uint64  // offset of the index, and so the end of the data, in bytes
	length  uint64  // of the index, in bytes
	sum     uint32  // checksum of the index
}

func (h header) encode() []byte {
	b := make([]byte, 0, footerSize)
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint32(b, formVersion)
	b = binary.LittleEndian.AppendUint32(b, Size)
	for _, v := range []uint64{h.pages, h.data, h.index, h.length} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, h.sum)
	b = binary.LittleEndian.AppendUint32(b, h.depth)
	b = binary.LittleEndian.AppendUint32(b, h.backing)
	b = append(b, h.id[:]...)
	b = append(b, h.parent[:]...)
	b = b[:footerSize-sumSize] // the rest is zero
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// decodeFooter reads the footer of a file of size bytes and checks what can be checked
// without the index. The error is the reason.
func decodeFooter(b []byte, size int64) (header, error) {
	if len(b) != footerSize || [8]byte(b) != magic {
		return header{}, errors.New("it does not end as a layer does, as if it were cut short")
	}
	body, sum := b[:footerSize-sumSize], binary.LittleEndian.Uint32(b[footerSize-sumSize:])
	if checksum(body) != sum {
		return header{}, errors.New("its footer does not have its checksum")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formVersion {
		return header{}, fmt.Errorf("its form is version %d, and this version of Shoal reads %d", v, formVersion)
	}
	if p := binary.LittleEndian.Uint32(b[12:]); p != Size {
		return header{}, fmt.Errorf("its pages have %d bytes", p)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	h := header{pages: u64(16), data: u64(24), index: u64(32), length: u64(40),
		sum: binary.LittleEndian.Uint32(b[48:]), depth: binary.LittleEndian.Uint32(b[52:]),
		backing: binary.LittleEndian.Uint32(b[56:]), id: LayerID(b[60:76]), parent: LayerID(b[76:92])}
	switch {
	case h.pages == 0 || h.pages > maxPages || h.data > h.pages:
		return header{}, fmt.Errorf("it has %d pages of %d", h.data, h.pages)
	case h.backing != Size && h.backing != HugeSize:
		return header{}, fmt.Errorf("the guest had pages of %d bytes", h.backing)
	case h.id == LayerID{} || (h.parent == LayerID{}) != (h.depth == 0):
		return header{}, errors.New("it does not say what it stands on")
	case size < footerSize || h.index > min(uint64(size), maxPages*Size) || h.index%Size != 0 ||
		h.length != uint64(size)-footerSize-h.index:
		return header{}, errors.New("it does not have the length that it says")
	case h.length < sumSize*h.data || (h.length-sumSize*h.data)%runSize != 0:
		return header{}, errors.New("its index does not have the length that it says")
	}
	return h, nil
}

// run is pages of the guest that follow each other, and so do their bytes in the file.
type run struct {
	first uint32 // page of the guest
	count uint32
	at    uint32 // page of the file; zeroRun if all the pages are zero
}

const zeroRun = ^uint32(0)

func (r run) end() uint32 { return r.first + r.count }

// index tells of the pages of a layer, in the guest's order. Pages that are in no run are as
// the layer below has them.
type index struct {
	runs []run
	sums []uint32 // one for each page of the runs with data, in their order
}

// add puts a page after all others; sum is that of its data, at the page at of the file.
func (x *index) add(page, at, sum uint32) {
	if n := len(x.runs); n > 0 && x.runs[n-1].end() == page && x.runs[n-1].at != zeroRun &&
		x.runs[n-1].at+x.runs[n-1].count == at {
		x.runs[n-1].count++
	} else {
		x.runs = append(x.runs, run{first: page, count: 1, at: at})
	}
	x.sums = append(x.sums, sum)
}

// addZeros puts pages that are zero after all others.
func (x *index) addZeros(first, count uint32) {
	if n := len(x.runs); n > 0 && x.runs[n-1].end() == first && x.runs[n-1].at == zeroRun {
		x.runs[n-1].count += count
		return
	}
	x.runs = append(x.runs, run{first: first, count: count, at: zeroRun})
}

func (x *index) encode() []byte {
	b := make([]byte, 0, runSize*len(x.runs)+sumSize*len(x.sums))
	for _, r := range x.runs {
		b = binary.LittleEndian.AppendUint32(b, r.first)
		b = binary.LittleEndian.AppendUint32(b, r.count)
		b = binary.LittleEndian.AppendUint32(b, r.at)
	}
	for _, s := range x.sums {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return b
}

// decodeIndex reads the index that h tells of. The error is the reason.
func decodeIndex(b []byte, h header) (*index, error) {
	if uint64(len(b)) != h.length || checksum(b) != h.sum {
		return nil, errors.New("its index does not have its checksum")
	}
	runs, sums := b[:h.length-sumSize*h.data], b[h.length-sumSize*h.data:]
	x := &index{runs: make([]run, 0, len(runs)/runSize), sums: make([]uint32, 0, h.data)}
	var end, data uint64
	for c := range slices.Chunk(runs, runSize) {
		r := run{first: binary.LittleEndian.Uint32(c), count: binary.LittleEndian.Uint32(c[4:]),
			at: binary.LittleEndian.Uint32(c[8:])}
		next := uint64(r.first) + uint64(r.count)
		if r.count == 0 || uint64(r.first) < end || next > h.pages {
			return nil, errors.New("its index has pages that are not in order")
		}
		if end = next; r.at != zeroRun {
			if data += uint64(r.count); (uint64(r.at)+uint64(r.count))*Size > h.index {
				return nil, errors.New("its index names pages behind the data")
			}
		}
		x.runs = append(x.runs, r)
	}
	if data != h.data {
		return nil, errors.New("its index has another number of pages than it says")
	}
	for c := range slices.Chunk(sums, sumSize) {
		x.sums = append(x.sums, binary.LittleEndian.Uint32(c))
	}
	return x, nil
}
