package guestinit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"shoal/internal/envdapi"
	"shoal/internal/runtime/firecracker/control"
)

// server answers the host. One question is answered at a time.
type server struct {
	mu      sync.Mutex
	started bool
	still   bool     // the guest's processes may stand still
	used    int64    // bytes of the disk that the images take
	first   int      // the first process's number; 0 before it runs
	known   []string // the environment that the guest knows as its first process's
	shares  []*share
}

// conversations is how many connections are waited for at once. A thread of its own waits for each, and answers it: a
// machine that has come back, whose memory is all to be fetched, would have to wake or to make another one for that.
const conversations = 3

// serve answers the host until the machine ends.
func serve() {
	s := &server{used: usedBytes()}
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: control.Port})
	}
	if err == nil {
		err = unix.Listen(fd, 8)
	}
	if err != nil {
		say("listen for the host: %v", err)
		shutDown()
	}
	for range conversations - 1 {
		go s.accept(fd)
	}
	s.accept(fd)
}

// accept answers connections, one after the other. It does not end.
func (s *server) accept(fd int) {
	for {
		conn, from, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			continue
		}
		peer, ok := from.(*unix.SockaddrVM)
		if !ok || peer.CID != control.HostCID { // a process of the guest
			unix.Close(conn)
			continue
		}
		host := os.NewFile(uintptr(conn), "host")
		volume := s.converse(host)
		if volume == nil {
			host.Close()
			continue
		}
		go func() { // ends with the connection
			defer host.Close()
			s.attach(volume, host)
		}()
	}
}

// converse answers the questions of one connection, until it ends or is to carry a volume, which is returned.
func (s *server) converse(conn *os.File) (volume *control.Share) {
	lines := bufio.NewReader(io.LimitReader(conn, 1<<40))
	out := json.NewEncoder(conn)
	for {
		line, err := readLine(lines)
		if err != nil {
			return nil
		}
		var q control.Request
		var a control.Answer
		if err := json.Unmarshal(line, &q); err != nil {
			a.Error = "not understood: " + err.Error()
		} else if err := s.answer(&q, &a); err != nil {
			a.Error = err.Error()
		}
		if out.Encode(a) != nil {
			return nil
		}
		if q.Share != nil && a.Error == "" {
			return q.Share
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var all []byte
	for {
		part, err := r.ReadSlice('\n')
		all = append(all, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return all, err
		}
		if len(all) > control.MaxLine {
			return nil, errors.New("a line without end")
		}
	}
}

func (s *server) answer(q *control.Request, a *control.Answer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case q.Start != nil:
		return s.start(q.Start)
	case q.Resume != nil:
		s.giveUpShares(q.Resume.Shares)
		err := renew(q.Resume)
		if err == nil {
			err = s.tellEnvironment(q.Resume.Environment)
		}
		if err == nil && q.Resume.Thaw {
			a.Thawed, err = true, s.thaw()
		}
		return err
	case q.Freeze != nil:
		return s.freeze()
	case q.Thaw != nil:
		return s.thaw()
	case q.Sync != nil:
		return syncDisk()
	case q.Largest != nil:
		ended, err := endLargest()
		a.Largest = &ended
		return err
	case q.Share != nil:
		return s.share(q.Share)
	case q.Usage != nil:
		a.Usage = &control.Usage{Disk: max(usedBytes()-s.used, 0)}
		return nil
	}
	return errors.New("an unknown question")
}

func (s *server) start(q *control.Start) error {
	if s.started {
		return errors.New("the first process has been started")
	}
	if err := renew(&q.Resume); err != nil {
		return err
	}
	if err := setUpNetwork(q.Link); err != nil {
		return err
	}
	if err := limitProcesses(q.MaxProcesses); err != nil {
		return err
	}
	p, err := begin(q)
	if err != nil {
		return err
	}
	s.started, s.first, s.known = true, p.Pid, q.Env
	go await(p)
	return nil
}

// await ends the machine when the first process has ended. Orphans of the guest are its own to
// wait for.
func await(p *os.Process) {
	state, err := p.Wait()
	if err != nil {
		say("wait for the first process: %v", err)
	} else {
		say("the first process has ended: %s", state)
	}
	shutDown()
}

// renew sets what must not be the same in two guests, or has gone by: name, time, randomness.
func renew(r *control.Resume) error {
	if err := unix.Sethostname([]byte(r.Hostname)); err != nil {
		return fmt.Errorf("set the host's name: %w", err)
	}
	if !r.Time.IsZero() {
		now := unix.NsecToTimeval(r.Time.UnixNano())
		if err := unix.Settimeofday(&now); err != nil {
			return fmt.Errorf("set the clock: %w", err)
		}
	}
	return addEntropy(r.Entropy)
}

// tellEnvironment tells the guest what its first process's environment would be if it began now, unless it knows. Its
// /dev is this program's.
func (s *server) tellEnvironment(entries []string) error {
	if len(entries) == 0 || slices.Equal(entries, s.known) {
		return nil
	}
	const path, written = envdapi.EnvironmentFile, envdapi.EnvironmentFile + ".new"
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(written, []byte(strings.Join(entries, "\x00")+"\x00"), 0o400)
	}
	if err == nil {
		err = os.Rename(written, path)
	}
	if err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	s.known = entries
	return nil
}

// ioctls of /dev/random that add to what numbers are made of, and have all processors begin anew.
const (
	addToPool = 0x40085203
	reseed    = 0x5207
)

func addEntropy(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	const pool = "/dev/random"
	fd, err := unix.Open(pool, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: pool, Err: err}
	}
	defer unix.Close(fd)
	info := struct {
		bits, size int32
		data       [64]byte
	}{}
	info.size = int32(copy(info.data[:], data))
	info.bits = 8 * info.size
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), addToPool, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return fmt.Errorf("add to the random numbers: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), reseed, 0); errno != 0 {
		return fmt.Errorf("begin the random numbers anew: %w", errno)
	}
	return nil
}

func usedBytes() int64 {
	var st unix.Statfs_t
	if unix.Statfs(rootDir, &st) != nil {
		return 0
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}
