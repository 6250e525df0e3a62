package artifact

import (
	"bytes"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSum: a checksum is that of all bytes, wherever the holes are, which no copy fills.
func TestSum(t *testing.T) {
	const block = 64 << 10
	data := bytes.Repeat([]byte("data"), block/4)
	for name, parts := range map[string]struct {
		written []int64 // the blocks that have data
		size    int64   // in bytes
	}{
		"empty":                   {nil, 0},
		"no hole":                 {[]int64{0, 1}, 2 * block},
		"nothing but a hole":      {nil, 5*block + 3},
		"a hole in front":         {[]int64{3}, 4 * block},
		"a hole behind":           {[]int64{0}, 3*block + 1},
		"holes between":           {[]int64{1, 2, 7, 20}, 31*block + 100},
		"a part of a block":       {[]int64{0, 2}, 2*block + 5},
		"more than one read":      {seq(20, 40), 64 * block},
		"less than a block alone": {[]int64{0}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, b := range parts.written {
				if _, err := f.WriteAt(data, b*block); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Truncate(parts.size); err != nil {
				t.Fatal(err)
			}
			all, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := File{Name: "file", Size: parts.size, CRC32C: crc32.Checksum(all, castagnoli)}
			got, err := sum(path)
			if err != nil || !got.same(want) {
				t.Errorf("sum: %+v %v, want %+v", got, err, want)
			}
			if most := min(int64(len(parts.written))*block, parts.size); got.Stored > most || got.Stored <= 0 && most > 0 {
				t.Errorf("%d bytes are stored, at most %d were written", got.Stored, most)
			}
			if looked, err := stored(path, parts.size); err != nil || looked != got.Stored {
				t.Errorf("stored: %d %v, want %d", looked, err, got.Stored)
			}
			copied := filepath.Join(t.TempDir(), "file")
			if err := copyFile(t.Context(), path, copied); err != nil {
				t.Fatal(err)
			}
			if again, err := sum(copied); err != nil || again != got {
				t.Errorf("of a copy: %+v %v, want %+v", again, err, got)
			}
		})
	}
}

// TestSumOfHoles takes a file of 8 TiB, which nobody reads through.
func TestSumOfHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8<<40); err != nil {
		t.Skip("the file system has no files as long as that: ", err)
	}
	done := make(chan File, 1)
	go func() {
		got, err := sum(path)
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	select {
	case got := <-done:
		if got.Size != 8<<40 || got.CRC32C == 0 {
			t.Errorf("sum: %+v", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("holes are read")
	}
}

func seq(from, to int64) (all []int64) {
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}
