package block

import (
	"encoding/binary"
	"fmt"
)

// store is a file of blocks with its map, on top of what lies below: the part that disks and layers
// have in common.
type store struct {
	file    file
	name    string // the file's path, for messages
	head    header
	entries []entry // by block; guarded by the owner
	below   Backing
}

// load reads header and map, and checks both. Entries that are damaged are unknown: reading such a
// block is an error.
func (s *store) load() error {
	p := make([]byte, headerSize)
	if _, err := s.file.ReadAt(p, 0); err != nil {
		return fmt.Errorf("read the header of %s: %w", s.name, err)
	}
	head, what := decodeHeader(p)
	if what != "" {
		return &DamageError{File: s.name, Block: -1, What: what}
	}
	if head.below != s.below.Name() {
		return fmt.Errorf("%w: %s was made on %q, and is opened on %q", ErrOtherBase, s.name, head.below, s.below.Name())
	}
	s.head = head
	s.entries = make([]entry, head.blocks()) // takes memory only where something is kept
	sum, err := s.loadMap()
	if err != nil {
		return err
	}
	if head.flags&(flagClosed|flagSealed) != 0 && sum != head.mapSum {
		return &DamageError{File: s.name, Block: -1, What: "the checksum of its map is wrong"}
	}
	return nil
}

const mapStep = 64 << 10 // bytes of the map that are read or summed at once

func (s *store) loadMap() (sum uint32, err error) {
	sum = 0
	buffer := make([]byte, mapStep)
	for first := 0; first < len(s.entries); first += mapStep / 8 {
		p := buffer[:min(mapStep, (len(s.entries)-first)*8)]
		if _, err := s.file.ReadAt(p, mapAt+int64(first)*8); err != nil {
			return 0, fmt.Errorf("read the map of %s: %w", s.name, err)
		}
		sum = sumMap(sum, p)
		for i := 0; i < len(p)/8; i++ {
			e := entry(binary.LittleEndian.Uint64(p[i*8:]))
			if e == 0 {
				continue
			}
			if !e.valid(int64(first + i)) {
				e = unknown
			}
			s.entries[first+i] = e
		}
	}
	return sum, nil
}

// sumMap continues the checksum of a map by the next part of it.
func sumMap(sum uint32, p []byte) uint32 {
	var before [4]byte
	binary.LittleEndian.PutUint32(before[:], sum)
	return checksum(append(before[:], p...))
}

// mapSum is the checksum of the map as it is in memory.
func mapSum(entries []entry) uint32 {
	var sum uint32
	buffer := make([]byte, mapStep)
	for first := 0; first < len(entries); first += mapStep / 8 {
		part := entries[first:min(first+mapStep/8, len(entries))]
		sum = sumMap(sum, encodeEntries(buffer[:0], part))
	}
	return sum
}

func encodeEntries(p []byte, entries []entry) []byte {
	for _, e := range entries {
		p = binary.LittleEndian.AppendUint64(p, uint64(e))
	}
	return p
}

// run is how many blocks from first on, and at most n, are in the same state.
func (s *store) run(first, n int64) (state, int64) {
	is := s.entries[first].state()
	length := int64(1)
	for length < n && s.entries[first+length].state() == is {
		length++
	}
	return is, length
}

// read fills p, whose length is a multiple of Size, with blocks from first on.
func (s *store) read(p []byte, first int64) error {
	for len(p) > 0 {
		is, n := s.run(first, int64(len(p)/Size))
		part := p[:n*Size]
		switch is {
		case zero:
			clear(part)
		case below:
			if _, err := s.below.ReadAt(part, first*Size); err != nil {
				return err
			}
		case kept:
			if err := s.readKept(part, first); err != nil {
				return err
			}
		default:
			return &DamageError{File: s.name, Block: first, What: "its map"}
		}
		p, first = p[n*Size:], first+n
	}
	return nil
}

func (s *store) readKept(p []byte, first int64) error {
	if _, err := s.file.ReadAt(p, s.head.data()+first*Size); err != nil {
		return fmt.Errorf("read block %d of %s: %w", first, s.name, err)
	}
	for i := range int64(len(p) / Size) {
		if checksum(p[i*Size:(i+1)*Size]) != s.entries[first+i].sum() {
			return &DamageError{File: s.name, Block: first + i, What: "a checksum is wrong"}
		}
	}
	return nil
}
