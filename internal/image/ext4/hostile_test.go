package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/image"
)

// guestDisk is a small file system with something of everything.
func guestDisk(t testing.TB) []byte {
	t.Helper()
	tree := image.NewTree()
	put := func(name string, n *image.Node) {
		if err := tree.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	hard := image.NewFile(0o644, []byte("hard"))
	put("a/file", image.NewFile(0o644, bytes.Repeat([]byte("x"), 3*blockSize)))
	put("a/b/c/deep", image.NewFile(0o644, []byte("deep")))
	put("link", image.NewLink("a/file"))
	put("long", image.NewLink(strings.Repeat("long/", 20)))
	put("hard", hard)
	put("a/hard", hard)
	put("dev", &image.Node{Mode: unix.S_IFCHR, Device: unix.Mkdev(1, 3)})
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := image.WriteExt4(f, tree, 1<<20); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// emptyDisk is the base of hostile disks.
func emptyDisk(t testing.TB) *FS {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "base"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	size, err := image.WriteExt4(f, image.NewTree(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(f, size)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// at finds an inode on a disk.
func at(t testing.TB, disk []byte, path string) (raw []byte, n *inode) {
	t.Helper()
	fs, err := Open(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	number := uint32(rootInode)
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		n, err := fs.inode(number)
		if err != nil {
			t.Fatal(err)
		}
		list, err := fs.entries(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.name == part {
				number = e.inode
			}
		}
	}
	if n, err = fs.inode(number); err != nil {
		t.Fatal(err)
	}
	index := uint64(number - 1)
	offset := fs.tables[0]*blockSize + index*uint64(fs.inodeSize)
	return disk[offset : offset+uint64(fs.inodeSize)], n
}

// block is the first block of a file.
func block(disk, inode []byte) []byte {
	first := binary.LittleEndian.Uint32(inode[40+12+8:])
	return disk[int(first)*blockSize:][:blockSize]
}

func TestHostileDisks(t *testing.T) {
	good := guestDisk(t)
	le := binary.LittleEndian
	root := func(t *testing.T, disk []byte) []byte {
		fs, err := Open(bytes.NewReader(disk), int64(len(disk)))
		if err != nil {
			t.Fatal(err)
		}
		offset := fs.tables[0]*blockSize + uint64(fs.inodeSize)
		return disk[offset : offset+uint64(fs.inodeSize)]
	}
	rename := func(inode func(t *testing.T, disk []byte) []byte, from, to string) func(*testing.T, []byte) {
		return func(t *testing.T, disk []byte) {
			b := block(disk, inode(t, disk))
			k := bytes.Index(b, []byte(from))
			if k < 0 {
				t.Fatalf("there is no %s", from)
			}
			copy(b[k:], to)
		}
	}
	lead := func(dir, name string, number uint32) func(*testing.T, []byte) {
		return func(t *testing.T, disk []byte) {
			raw := root(t, disk)
			if dir != "" {
				raw, _ = at(t, disk, dir)
			}
			b := block(disk, raw)
			le.PutUint32(b[bytes.Index(b, []byte(name))-entryHead:], number)
		}
	}
	change := func(path string, do func(raw []byte)) func(*testing.T, []byte) {
		return func(t *testing.T, disk []byte) {
			raw, _ := at(t, disk, path)
			do(raw)
		}
	}
	for name, c := range map[string]struct {
		do   func(t *testing.T, disk []byte)
		want string
	}{
		"as it was":                   {func(*testing.T, []byte) {}, ""},
		"no superblock":               {func(_ *testing.T, d []byte) { clear(d[1024:2048]) }, "there is none"},
		"blocks of another size":      {func(_ *testing.T, d []byte) { d[1024+24] = 0 }, "blocks are not of"},
		"a feature":                   {func(_ *testing.T, d []byte) { d[1024+97] |= 0x80 }, "not supported"},
		"more blocks than the disk":   {func(_ *testing.T, d []byte) { d[1024+7] = 0xff }, "the disk has"},
		"inodes of no size":           {func(_ *testing.T, d []byte) { le.PutUint16(d[1024+88:], 0) }, "inodes of 0 bytes"},
		"groups without inodes":       {func(_ *testing.T, d []byte) { le.PutUint32(d[1024+40:], 0) }, "groups of 0"},
		"inodes elsewhere":            {func(_ *testing.T, d []byte) { le.PutUint32(d[blockSize+8:], 1<<31) }, "has its inodes at"},
		"a name with a slash":         {rename(root, "link", "li/k"), "no name of a file"},
		"a name twice":                {rename(root, "link", "hard"), "there twice"},
		"a name that leads to itself": {lead("a", "b", rootInode), "a directory with two names"},
		"an inode of the file system": {lead("", "link", 7), "leads to inode 7"},
		"an inode that is too far":    {lead("", "link", 1<<31), "leads to inode 2147483648"},
		"an inode that is not in use": {lead("", "link", 4000), "not in use"},
		"a directory in itself": {func(t *testing.T, d []byte) {
			_, a := at(t, d, "a")
			lead("a/b", "c", a.number)(t, d)
		}, "a directory with two names"},
		"a short entry":            {func(t *testing.T, d []byte) { le.PutUint16(block(d, root(t, d))[4:], 4) }, "a damaged entry"},
		"a long entry":             {func(t *testing.T, d []byte) { le.PutUint16(block(d, root(t, d))[4:], 0xfff0) }, "a damaged entry"},
		"a huge directory":         {change("a", func(raw []byte) { le.PutUint32(raw[4:], 0xfffff000) }), "a directory of"},
		"a directory with a hole":  {change("a", func(raw []byte) { raw[40+12] = 1 }), "a directory with a hole"},
		"a directory that ends":    {change("a", func(raw []byte) { le.PutUint32(raw[4:], 2*blockSize) }), "ends too early"},
		"extents of another magic": {change("a/file", func(raw []byte) { raw[40] = 0 }), "damaged tree"},
		"extents without end":      {change("a/file", func(raw []byte) { raw[42] = 0xff }), "damaged tree"},
		"an extent elsewhere":      {change("a/file", func(raw []byte) { raw[40+12+11] = 0x7f }), "not in the file system"},
		"an extent of nothing":     {change("a/file", func(raw []byte) { raw[40+12+4] = 0 }), "without blocks"},
		"extents twice": {change("a/file", func(raw []byte) {
			raw[42] = 2
			copy(raw[40+24:], raw[40+12:40+24])
		}), "out of order"},
		"a tree that is its own branch": {func(t *testing.T, d []byte) {
			raw, _ := at(t, d, "a/file")
			first := le.Uint32(raw[40+12+8:])
			b := block(d, raw)
			clear(b)
			le.PutUint16(b, extentMagic)
			b[2], b[4], b[6] = 1, 4, 4
			le.PutUint32(b[12+4:], first) // itself
			copy(raw[40:], b[:12])
			raw[40+6] = 5
			clear(raw[40+12 : 40+24])
			le.PutUint32(raw[40+12+4:], first)
		}, "damaged tree"},
		"a huge file":                             {change("a/file", func(raw []byte) { raw[111] = 0x7f }), "files with holes"},
		"the largest file":                        {change("a/file", func(raw []byte) { le.PutUint64(raw[108:], 1<<63-1) }), "files with holes"},
		"a long link":                             {change("link", func(raw []byte) { le.PutUint32(raw[4:], 1<<20) }), "a symbolic link of"},
		"a link to nothing":                       {change("link", func(raw []byte) { le.PutUint32(raw[4:], 0) }), "a symbolic link of"},
		"a link with zeros":                       {change("link", func(raw []byte) { raw[41] = 0 }), "link: "},
		"a file of no kind":                       {change("a/file", func(raw []byte) { le.PutUint16(raw, 0o070644) }), "a file of mode"},
		"an encrypted file":                       {change("a/file", func(raw []byte) { raw[33] |= 8 }), "not supported"},
		"attributes elsewhere":                    {change("a/file", func(raw []byte) { le.PutUint32(raw[104:], 1<<30) }), "not in the file system"},
		"attributes of a block of something else": {change("a/file", func(raw []byte) { raw[104] = 1 }), "damaged block of attributes"},
		"a damaged attribute": {change("a/file", func(raw []byte) {
			le.PutUint32(raw[160:], attributeMagic)
			raw[164], raw[165] = 200, 1
		}), "a damaged attribute"},
		"a value outside": {change("a/file", func(raw []byte) {
			le.PutUint32(raw[160:], attributeMagic)
			raw[164], raw[165], raw[180] = 1, 1, 'x'
			le.PutUint16(raw[166:], 90)
			le.PutUint32(raw[172:], 20)
		}), "a damaged attribute"},
		"an attribute of an unknown kind": {change("a/file", func(raw []byte) {
			le.PutUint32(raw[160:], attributeMagic)
			raw[164], raw[165] = 1, 99
		}), "not supported"},
		"a damaged access control list": {change("a/file", func(raw []byte) {
			le.PutUint32(raw[160:], attributeMagic)
			raw[165] = 2
			le.PutUint16(raw[166:], 40)
			le.PutUint32(raw[172:], 4)
		}), "a damaged access control list"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := bytes.Clone(good)
			c.do(t, disk)
			err := compareWith(t, emptyDisk(t), disk)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			if c.want != "" && !errors.As(err, new(*DamageError)) && !errors.As(err, new(*HolesError)) {
				t.Errorf("it is no damage: %v", err)
			}
		})
	}
}

// TestCutDisks: a disk that ends anywhere is an error.
func TestCutDisks(t *testing.T) {
	good, base := guestDisk(t), emptyDisk(t)
	for _, length := range []int{0, 1024, 1500, 2048, blockSize, 2 * blockSize, len(good) / 2, len(good) - 1} {
		if err := compareWith(t, base, good[:length]); err == nil {
			t.Errorf("a disk of %d bytes is read", length)
		}
	}
}

// TestFilesInCommon: blocks that many files claim are read once.
func TestFilesInCommon(t *testing.T) {
	disk := guestDisk(t)
	_, file := at(t, disk, "a/file")
	fs, err := Open(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		if err = fs.content(file, func([]byte, int64) error { return nil }); err != nil {
			break
		}
	}
	if !errors.As(err, new(*DamageError)) {
		t.Errorf("the same blocks are read again and again: %v", err)
	}
	for range 100_000 {
		if _, err = fs.entries(&inode{raw: mustRoot(t, fs).raw}); err != nil {
			break
		}
	}
	if !errors.As(err, new(*DamageError)) {
		t.Errorf("the same directory is read again and again: %v", err)
	}
}

func mustRoot(t *testing.T, fs *FS) *inode {
	t.Helper()
	n, err := fs.inode(rootInode)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func compareWith(t testing.TB, base *FS, disk []byte) error {
	t.Helper()
	fs, err := Open(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "changes.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Changes(t.Context(), f, base, fs); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := image.FromTar(f); err != nil {
		t.Errorf("the tar is no layer: %v", err)
	}
	return nil
}

// FuzzChanges changes bytes of a disk: each of up to 64 patches is where (block of those in use, offset) and what.
func FuzzChanges(f *testing.F) {
	good := guestDisk(f)
	used := []int{0, 1}
	for b := 2; b < len(good)/blockSize; b++ {
		if !isZero(good[b*blockSize:][:blockSize]) {
			used = append(used, b)
		}
	}
	const patch = 8
	f.Add([]byte{})
	for k := range used {
		f.Add([]byte{byte(k), 0, 4, 0, 255, 255, 255, 255})
	}
	base := emptyDisk(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := bytes.Clone(good)
		for n := 0; n < 64 && len(data) >= patch; n, data = n+1, data[patch:] {
			at := used[int(data[0])%len(used)]*blockSize + int(binary.LittleEndian.Uint16(data[1:]))%(blockSize-4)
			copy(disk[at:at+4], data[4:8])
		}
		base.treeBlocks, base.dataBlocks, base.entriesLeft = 1<<20, 1<<20, 1<<20
		err := compareWith(t, base, disk)
		if err != nil && !errors.As(err, new(*DamageError)) && !errors.As(err, new(*HolesError)) {
			t.Errorf("a disk that a guest has changed fails the host: %v", err)
		}
	})
}
