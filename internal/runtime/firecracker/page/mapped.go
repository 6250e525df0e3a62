package page

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// File is the path of a file that Firecracker can map as the guest's memory by itself (a memory
// backend of type File): that of a memory of one layer that was made where it lay. Guests then have
// the pages that they only read in common, and nothing is copied for them; but nobody compares
// checksums, unless by Verify before. There is none for memory of huge pages.
func (m *Memory) File() (path string, ok bool) {
	l := m.layers[0]
	if len(m.layers) > 1 || l.backing != Size || l.header.index != l.pages*Size {
		return "", false
	}
	for _, r := range l.x.runs {
		if r.at != zeroRun && r.at != r.first {
			return "", false
		}
	}
	return l.path, true
}

// MappedFile is Memory.File of the memory in a directory. One of more layers is not opened for that.
func MappedFile(dir string) (path string, ok bool, err error) {
	ids, err := readChain(dir)
	if err != nil || len(ids) > 1 {
		return "", false, err
	}
	m, err := Open(dir)
	if err != nil {
		return "", false, err
	}
	path, ok = m.File()
	return path, ok, m.Close()
}

// MappedRemoved is what Server.Removed is for a guest that was restored from File: the pages that
// it has given back since, over which Firecracker has mapped empty memory. pid is its process. It
// is right for the first snapshot after the restore only: what such a guest wrote to those pages
// before another cannot be told from it, so if there are any, its later snapshots are full ones.
func (m *Memory) MappedRemoved(pid int) (*Set, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(m.layers[0].file.Fd()), &st); err != nil {
		return nil, unreadable(err)
	}
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		return nil, fmt.Errorf("look at the memory of Firecracker: %w", err)
	}
	defer f.Close()
	removed, found := NewSet(m.pages), false
	removed.Add(0, m.pages)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if first, count, ok := mappedPages(lines.Text(), st.Ino); ok {
			removed.Remove(first, count)
			found = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("look at the memory of Firecracker: %w", err)
	}
	if !found {
		return nil, fmt.Errorf("process %d does not have the memory of %s", pid, m.layers[0].path)
	}
	return removed, nil
}

// mappedPages reads a line of /proc/PID/maps: which pages of the file with a number are mapped.
func mappedPages(line string, inode uint64) (first, count uint32, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 || fields[4] != strconv.FormatUint(inode, 10) {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	offset, err3 := strconv.ParseUint(fields[2], 16, 64)
	if err1 != nil || err2 != nil || err3 != nil || end <= start || offset/Size >= maxPages {
		return 0, 0, false
	}
	return uint32(offset / Size), uint32(min((end-start)/Size, maxPages)), true
}
