package series

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"shoal/internal/shoal"
)

// A block is the samples that one sandbox has had between two writes. Each value is stored as
// its difference to the one before, which is mostly zero or small: a sample takes some 20 bytes.

// percents is how finely percentages are stored.
const percents = 10_000

const values = 12 // of a sample

var errBlock = errors.New("a block of samples is damaged")

func valuesOf(s shoal.Sample) [values]int64 {
	return [values]int64{s.Time.UnixMilli(), int64(s.CPUCount), int64(math.Round(s.CPUUsedPct * percents)),
		s.MemUsed, s.MemTotal, s.MemCache, s.DiskUsed, s.DiskTotal,
		int64(math.Round(s.Host.CPUUsedPct * percents)), s.Host.MemBytes, s.Host.HeldBytes, s.Host.DiskBytes}
}

func sampleOf(v [values]int64) shoal.Sample {
	return shoal.Sample{
		Metrics: shoal.Metrics{Time: time.UnixMilli(v[0]).UTC(), CPUCount: int(v[1]),
			CPUUsedPct: float64(v[2]) / percents, MemUsed: v[3], MemTotal: v[4], MemCache: v[5],
			DiskUsed: v[6], DiskTotal: v[7]},
		Host: shoal.HostUse{CPUUsedPct: float64(v[8]) / percents, MemBytes: v[9], HeldBytes: v[10],
			DiskBytes: v[11]},
	}
}

func encode(samples []shoal.Sample) []byte {
	var block []byte
	var last [values]int64
	for _, s := range samples {
		now := valuesOf(s)
		for i := range now {
			block = binary.AppendVarint(block, now[i]-last[i])
		}
		last = now
	}
	return block
}

// decode passes on the samples of a block.
func decode(block []byte, visit func(shoal.Sample)) error {
	var now [values]int64
	for len(block) > 0 {
		for i := range now {
			change, n := binary.Varint(block)
			if n <= 0 {
				return errBlock
			}
			now[i] += change
			block = block[n:]
		}
		visit(sampleOf(now))
	}
	return nil
}
