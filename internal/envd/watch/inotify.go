// Package watch reports changes below a directory, by inotify.
package watch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// watchMask is what clients are told of (envd.md §2.6).
const watchMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_DELETE | unix.IN_DELETE_SELF |
	unix.IN_MOVED_FROM | unix.IN_MOVE_SELF | unix.IN_ATTRIB

// Op is one kind of change.
type Op int

// The kinds, in the order in which one raw event with several is reported.
const (
	Create Op = iota + 1
	Rename
	Chmod
	Write
	Remove
)

var opMasks = []struct {
	op   Op
	mask uint32
}{
	{Create, unix.IN_CREATE | unix.IN_MOVED_TO},
	{Rename, unix.IN_MOVED_FROM | unix.IN_MOVE_SELF},
	{Chmod, unix.IN_ATTRIB},
	{Write, unix.IN_MODIFY},
	{Remove, unix.IN_DELETE | unix.IN_DELETE_SELF},
}

// rawEvent is one record as the kernel queues it.
type rawEvent struct {
	wd     int32
	mask   uint32
	cookie uint32
	name   string
}

func (e rawEvent) has(mask uint32) bool { return e.mask&mask != 0 }

// openInotify returns a descriptor that does not block.
func openInotify() (int, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("open inotify: %w", err)
	}
	return fd, nil
}

// readEvents returns the records that are queued now; none if the queue is empty.
func readEvents(fd int, buf []byte) ([]rawEvent, error) {
	var n int
	var err error
	for {
		n, err = unix.Read(fd, buf)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read inotify: %w", err)
	}
	return parseEvents(buf[:n]), nil
}

func parseEvents(data []byte) []rawEvent {
	var events []rawEvent
	for len(data) >= unix.SizeofInotifyEvent {
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(data[12:]))
		if size > len(data) {
			break
		}
		events = append(events, rawEvent{
			wd:     int32(binary.NativeEndian.Uint32(data)),
			mask:   binary.NativeEndian.Uint32(data[4:]),
			cookie: binary.NativeEndian.Uint32(data[8:]),
			name:   strings.TrimRight(string(data[unix.SizeofInotifyEvent:size]), "\x00"),
		})
		data = data[size:]
	}
	return events
}

// addWatch watches one directory.
func addWatch(fd int, dir string) (int32, error) {
	wd, err := unix.InotifyAddWatch(fd, dir, watchMask|unix.IN_ONLYDIR)
	return int32(wd), err
}

// removeWatch forgets a directory; one that is gone is no error.
func removeWatch(fd int, wd int32) { _, _ = unix.InotifyRmWatch(fd, uint32(wd)) }
