package page

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// FuzzLayer: what a footer and an index are read as lies within the file and the memory, and is
// what would be written again.
func FuzzLayer(f *testing.F) {
	x := &index{}
	x.addZeros(3, 2)
	x.add(5, 0, 77)
	x.add(6, 1, 78)
	x.add(9, 3, 79)
	f.Add(x.encode(), uint64(3), uint64(10), uint64(4), uint32(0), []byte{})
	f.Add(x.encode(), uint64(3), uint64(1<<20), uint64(1<<20), uint32(1), []byte{1})
	f.Add([]byte{}, uint64(0), uint64(1<<31), uint64(0), uint32(0), bytes.Repeat([]byte{7}, footerSize))
	f.Fuzz(func(t *testing.T, raw []byte, data, pages, at uint64, depth uint32, footer []byte) {
		h := header{id: LayerID{1}, depth: depth, pages: pages, backing: Size, data: data, index: at * Size,
			length: uint64(len(raw)), sum: checksum(raw)}
		if depth > 0 {
			h.parent = LayerID{2}
		}
		size := int64(h.index + h.length + footerSize)
		encoded := h.encode()
		for i, c := range footer[:min(len(footer), 92)] { // any other footer, with its checksum
			encoded[i] ^= c
		}
		copy(encoded, magic[:])
		binary.LittleEndian.PutUint32(encoded[footerSize-sumSize:], checksum(encoded[:footerSize-sumSize]))
		h, err := decodeFooter(encoded, size)
		if err != nil {
			return
		}
		if h.index+h.length+footerSize != uint64(size) {
			t.Fatalf("%+v of %d bytes", h, size)
		}
		if again := h.encode(); !bytes.Equal(again[:92], encoded[:92]) {
			t.Fatalf("%x is written as %x", encoded, again)
		}
		x, err := decodeIndex(raw, h)
		if err != nil {
			return
		}
		if !bytes.Equal(x.encode(), raw) || uint64(len(x.sums)) != h.data {
			t.Fatalf("%x is written as %x", raw, x.encode())
		}
		end, count := uint64(0), uint64(0)
		for _, r := range x.runs {
			if uint64(r.first) < end || r.count == 0 || uint64(r.end()) > h.pages {
				t.Fatalf("%+v of %d pages", r, h.pages)
			}
			if end = uint64(r.end()); r.at != zeroRun {
				count += uint64(r.count)
				if (uint64(r.at)+uint64(r.count))*Size > h.index {
					t.Fatalf("%+v of %d bytes", r, h.index)
				}
			}
		}
		if count != h.data {
			t.Fatalf("%d pages and %d checksums", count, h.data)
		}
	})
}

// FuzzFlatten: of layers upon each other, each page is what the highest that has it says.
func FuzzFlatten(f *testing.F) {
	f.Add([]byte{0, 0, 255, 1, 10, 4, 2, 12, 1, 0, 200, 30, 3, 11, 9})
	f.Add([]byte{1, 0, 10, 3, 0, 255, 1, 5, 5, 5, 5, 5})
	f.Fuzz(func(t *testing.T, program []byte) {
		const pages = 256
		type where struct{ layer, at, sum int }
		var want [pages]where
		var layers []*layer
		// Each three bytes are a run: in a new layer or after the last one, zero or not.
		var x *index
		next := uint32(0)
		for c := range slices.Chunk(program, 3) {
			if len(c) < 3 {
				break
			}
			first, count := uint32(c[1]), uint32(c[2])
			if c[0]&1 == 0 || x == nil || first < next {
				if len(layers) == MaxLayers {
					break
				}
				x = &index{}
				layers = append(layers, &layer{x: x, header: header{pages: pages}})
				next = 0
			}
			if count = min(count, pages-first); count == 0 {
				continue
			}
			next = first + count
			if c[0]&2 != 0 {
				x.addZeros(first, count)
				for i := range count {
					want[first+i] = where{}
				}
				continue
			}
			for i := range count {
				at := len(x.sums) + int(c[0]>>2) // with gaps in the file
				if n := len(x.runs); i > 0 {
					at = int(x.runs[n-1].at + x.runs[n-1].count)
				}
				want[first+i] = where{len(layers), at, len(x.sums)}
				x.add(first+i, uint32(at), 0)
			}
		}
		for _, zeros := range []bool{false, true} {
			m := &Memory{layers: layers, extents: flatten(layers, zeros), pages: pages}
			for p := uint32(0); p < pages; p++ {
				for _, limit := range []uint32{1, 7, pages} {
					e := m.find(p, limit)
					if e.first != p || e.count == 0 || e.count > limit || e.end() > pages {
						t.Fatalf("at %d, at most %d: %+v", p, limit, e.run)
					}
					for i := range e.count {
						w := want[p+i]
						if e.zero() != (w.layer == 0) || !e.zero() && (e.layer != layers[w.layer-1] ||
							int(e.at+i) != w.at || int(e.sum+i) != w.sum) {
							t.Fatalf("page %d is %+v, not %+v", p+i, e.run, w)
						}
					}
				}
			}
		}
	})
}

// FuzzChain: a chain that is read names layers that files can have, each once.
func FuzzChain(f *testing.F) {
	f.Add([]byte(`{"layers":["000102030405060708090a0b0c0d0e0f"]}`))
	f.Add([]byte(`{"layers":["000102030405060708090a0b0c0d0e0f","../../../../../etc/passwd/aaaaaaaaaaaa"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := parseChain(b)
		if err != nil {
			return
		}
		seen := map[LayerID]bool{{}: true}
		for _, id := range ids {
			if again, err := parseLayerID(id.String()); err != nil || again != id || seen[id] {
				t.Fatalf("%s: %v", id, err)
			}
			seen[id] = true
		}
		if len(ids) == 0 || len(ids) > MaxLayers {
			t.Fatalf("%d layers", len(ids))
		}
	})
}

// FuzzWorkingSet: a set that is read has pages of its memory, and prefetching comes to its end
// with all of them.
func FuzzWorkingSet(f *testing.F) {
	w := &WorkingSet{pages: 5000, runs: []run{{first: 4000, count: 1000}, {first: 0, count: 3}, {first: 5, count: 1}}}
	f.Add(w.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= sumSize {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[len(b)-sumSize:], checksum(b[:len(b)-sumSize]))
		}
		w, err := decodeWorkingSet(b)
		if err != nil {
			return
		}
		if !bytes.Equal(w.encode(), b) {
			t.Fatal("it is written as another")
		}
		if w.pages > 1<<16 || w.Pages() > 1<<18 {
			return
		}
		left, has := slices.Clone(w.runs), NewSet(w.pages)
		for len(left) > 0 {
			end := uint32(0)
			for i, r := range nextWindow(&left) {
				if r.count == 0 || r.end() > w.pages || i > 0 && r.first <= end+gap {
					t.Fatalf("%+v after %d", r, end)
				}
				end = r.end()
				has.Add(r.first, r.count)
			}
		}
		for _, r := range w.runs {
			if in, n := has.run(r.first, r.count); !in || n != r.count {
				t.Fatalf("%+v is not prefetched", r)
			}
		}
	})
}
