package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// changesOfTheRoot changes files of the image in every way, and makes new ones of every kind.
func changesOfTheRoot() (string, error) {
	for _, change := range []func() error{newFiles, changedFiles, goneFiles, movedFiles, linkedFiles, otherKinds, manyNames} {
		if err := change(); err != nil {
			return "", err
		}
	}
	return "ok", nil
}

func newFiles() error {
	if err := os.MkdirAll("/new/deep/down", 0o750); err != nil {
		return err
	}
	file, err := os.Create("/new/holes") // larger than what it takes
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt([]byte("behind a hole"), 20<<20)
	reserved, reservedErr := os.Create("/new/reserved")
	if reservedErr == nil {
		defer reserved.Close()
		reservedErr = unix.Fallocate(int(reserved.Fd()), 0, 0, 1<<20)
	}
	return errors.Join(err, file.Truncate(21<<20), reservedErr,
		os.WriteFile("/new/deep/down/file", bytes.Repeat([]byte("new "), 3000), 0o640),
		os.WriteFile("/new/empty", nil, 0o600), os.WriteFile("/new/program", []byte("#!/init"), 0o755),
		os.Chown("/new/program", 70_000, 100_000), os.Chmod("/new/program", fs.ModeSetuid|0o755),
		os.Chmod("/new/deep", fs.ModeSticky|0o777),
		os.Chtimes("/new/empty", time.Time{}, time.Unix(1_234_567_890, 0)))
}

func changedFiles() error {
	file, err := os.OpenFile("/dir/changed", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt([]byte("XXX"), 4)
	return errors.Join(err, os.Truncate("/dir/cut", 3), os.Chmod("/dir/mode", 0o400), os.Lchown("/dir/owner", 1000, 1001),
		os.Chmod("/dir/in", 0o700))
}

func goneFiles() error {
	return errors.Join(os.Remove("/dir/gone"), os.RemoveAll("/goes"), os.RemoveAll("/again"), os.Mkdir("/again", 0o755),
		os.WriteFile("/again/new", []byte("only this"), 0o644),
		os.Remove("/becomes-dir"), os.Mkdir("/becomes-dir", 0o755), os.WriteFile("/becomes-dir/in", []byte("in"), 0o644),
		os.RemoveAll("/becomes-file"), os.WriteFile("/becomes-file", []byte("file"), 0o644),
		os.Remove("/link"), os.Symlink("elsewhere", "/link"))
}

func movedFiles() error {
	return errors.Join(os.Rename("/dir/moves", "/new/moved"), os.Rename("/tree", "/new/tree"),
		os.WriteFile("/dir/next", []byte("the next"), 0o644), os.Rename("/dir/next", "/dir/replaced"))
}

func linkedFiles() error {
	return errors.Join(os.Link("/dir/kept", "/new/kept"), os.WriteFile("/new/one", []byte("of two names"), 0o644),
		os.Link("/new/one", "/dir/two"), os.Link("/new/one", "/new/three"), os.Remove("/linked/other"))
}

func otherKinds() error {
	listener, err := net.Listen("unix", "/new/socket")
	if err != nil {
		return err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	return errors.Join(listener.Close(), os.Symlink("short", "/new/short"),
		os.Symlink(strings.Repeat("long/", 40), "/new/long"), syscall.Mkfifo("/new/fifo", 0o640),
		unix.Mknod("/new/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod("/new/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(259, 1000))))
}

// manyNames makes a directory that Linux gives an index.
func manyNames() error {
	if err := os.Mkdir("/many", 0o755); err != nil {
		return err
	}
	for n := range 400 {
		if err := os.WriteFile(fmt.Sprintf("/many/%s%d", strings.Repeat("n", n%60), n), nil, 0o644); err != nil {
			return err
		}
	}
	return os.Remove("/many/0")
}

// theRoot describes all of the root but what runtimes mount, sockets, which no layer has, and devices, whose
// numbers gVisor does not read from images.
func theRoot() (string, error) {
	var text strings.Builder
	err := filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch path {
		case "/proc", "/sys", "/dev", "/lost+found":
			return fs.SkipDir
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&(fs.ModeSocket|fs.ModeDevice) != 0 {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&text, "%s %v %d:%d", path, info.Mode(), stat.Uid, stat.Gid)
		err = describe(&text, path, info, stat)
		text.WriteByte('\n')
		return err
	})
	return text.String(), err
}

func describe(text *strings.Builder, path string, info fs.FileInfo, stat *syscall.Stat_t) error {
	switch {
	case info.Mode().IsRegular():
		fmt.Fprintf(text, " %d", info.Size())
		if strings.HasPrefix(path, "/new/") {
			fmt.Fprintf(text, " of %d names", stat.Nlink)
		}
		if path == "/new/empty" {
			fmt.Fprintf(text, " at %d", info.ModTime().Unix())
		}
		if path == "/init" {
			return nil // large, and never changed
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(text, " %.8x", sha256.Sum256(data))
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		fmt.Fprintf(text, " -> %s", target)
		return err
	}
	return nil
}
