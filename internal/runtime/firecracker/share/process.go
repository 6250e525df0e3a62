package share

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/unixsocket"
	"shoal/internal/volume/meter"
)

// Command is the command by which a program is a server of a volume.
const Command = "share"

// Config is what a server is told when it is started. It is written as JSON.
type Config struct {
	// Dir is the volume.
	Dir string `json:"dir"`
	// Guest is the path of the virtio socket of the guest's machine; it must be there. Port is where the guest's
	// first program listens, and Hello the line that it is told first.
	Guest string `json:"guest"`
	Port  int    `json:"port"`
	Hello string `json:"hello"`
	// Again is that line after it was understood once.
	Again string `json:"again"`
	// Socket is where the server is asked.
	Socket string `json:"socket"`
	// State is the path of what another server has saved; empty without.
	State string `json:"state"`
	// Bytes bounds what is in the volume if it is more than 0, Counter is the file that it is counted by.
	Bytes   int64  `json:"bytes"`
	Counter string `json:"counter"`
}

// Main serves a volume to a guest as the file of a configuration says. It is the whole of a process, which was
// started in the namespaces of Unshare, and is ended with the guest.
func Main(config string) error {
	var cfg Config
	if err := readJSON(config, &cfg); err != nil {
		return err
	}
	o, listener, dial, err := prepare(cfg)
	if err != nil {
		return fmt.Errorf("serve %s: %w", cfg.Dir, err)
	}
	s, err := New(o)
	if err != nil {
		return fmt.Errorf("serve %s: %w", cfg.Dir, err)
	}
	p := &process{server: s, hello: cfg.Hello, again: cfg.Again, port: cfg.Port, dial: dial}
	p.changed = sync.NewCond(&p.mu)
	go p.keepConnected() // for as long as the process lives
	return p.answerAll(listener)
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// prepare opens all that is needed, and gives up everything else.
func prepare(cfg Config) (o Options, l *net.UnixListener, dial func() (net.Conn, error), err error) {
	if cfg.State != "" {
		o.State = &State{}
		if err := readJSON(cfg.State, o.State); err != nil {
			return o, nil, nil, err
		}
	}
	if cfg.Bytes > 0 {
		counter, err := os.OpenFile(cfg.Counter, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return o, nil, nil, err
		}
		o.Meter, err = meter.Open(counter, cfg.Bytes, "/") // which the volume is about to be
		if err = errors.Join(err, counter.Close()); err != nil {
			return o, nil, nil, err
		}
	}
	guest, err := unix.Open(cfg.Guest, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return o, nil, nil, &os.PathError{Op: "open", Path: cfg.Guest, Err: err}
	}
	if l, err = unixsocket.Listen(cfg.Socket); err != nil {
		return o, nil, nil, err
	}
	if o.Root, err = confine(cfg.Dir); err != nil {
		return o, nil, nil, err
	}
	return o, l, func() (net.Conn, error) {
		return new(net.Dialer).DialContext(context.Background(), "unix", strconv.Itoa(guest))
	}, nil
}

// process is a server with its connection to the guest.
type process struct {
	server *Server
	hello  string // used by one goroutine
	again  string
	port   int
	dial   func() (net.Conn, error)

	mu        sync.Mutex // a leaf
	changed   *sync.Cond // of what follows
	held      bool       // nobody is to connect
	conn      net.Conn   // that there is, or is about to be
	connected bool
	why       string // the last try failed
	refused   bool   // by the guest's first program
}

// Between two tries to connect.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
	// refusedPause is after the guest's first program has said that the volume is not mounted.
	refusedPause = 2 * time.Second
)

// keepConnected connects to the guest, whenever there is no connection: a checkpoint ends all that there are.
func (p *process) keepConnected() {
	pause := firstPause
	for {
		err := p.connect()
		p.mu.Lock()
		if p.connected {
			pause = firstPause
		}
		p.connected, p.conn = false, nil
		if err != nil {
			p.why, p.refused = err.Error(), errors.Is(err, errRefused)
		}
		wait := pause
		if p.refused {
			wait = refusedPause
		}
		for p.held {
			p.changed.Wait()
		}
		p.mu.Unlock()
		time.Sleep(wait)
		pause = min(2*pause, lastPause)
	}
}

// connect connects, and serves until the connection ends.
func (p *process) connect() error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	p.mu.Lock()
	if p.held {
		p.mu.Unlock()
		return nil
	}
	p.conn = conn
	p.mu.Unlock()
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", p.port); err != nil {
		return err
	}
	line, err := readLine(conn)
	if err != nil || !strings.HasPrefix(line, "OK ") {
		return errors.Join(errors.New("the guest does not listen"), err)
	}
	if _, err := io.WriteString(conn, p.hello); err != nil {
		return err
	}
	var answer struct {
		Error string `json:"error"`
	}
	if line, err = readLine(conn); err != nil {
		return fmt.Errorf("the guest does not answer: %w", err)
	}
	if err := json.Unmarshal([]byte(line), &answer); err != nil {
		return fmt.Errorf("the guest's answer cannot be read: %w", err)
	}
	if answer.Error != "" {
		return fmt.Errorf("%w: %s", errRefused, answer.Error)
	}
	p.mu.Lock()
	held := p.held
	p.hello = p.again
	p.connected, p.why, p.refused = !held, "", false
	p.mu.Unlock()
	if held {
		return nil
	}
	return p.server.Serve(conn)
}

var errRefused = errors.New("the guest's first program")

// maxAnswer bounds a line, in bytes.
const maxAnswer = 4096

// readLine reads a line and nothing after it.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) < maxAnswer; {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return string(line), nil
		}
		line = append(line, one[0])
	}
	return "", errors.New("a line without end")
}

// answerAll answers one question of each connection.
func (p *process) answerAll(l *net.UnixListener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go p.answer(conn) // ends with the answer, or with the connection
	}
}

func (p *process) answer(conn net.Conn) {
	defer conn.Close()
	var q Question
	if json.NewDecoder(io.LimitReader(conn, maxAnswer)).Decode(&q) != nil {
		return
	}
	var a Answer
	switch {
	case q.Save:
		a.State = p.save()
	case q.GoOn:
		p.mu.Lock()
		p.held = false
		p.changed.Broadcast()
		p.mu.Unlock()
	}
	p.mu.Lock()
	a.Connected, a.Why, a.Refused = p.connected, p.why, p.refused
	p.mu.Unlock()
	_ = json.NewEncoder(conn).Encode(a)
}

// holdTime is how long a server waits after its state was saved, if nobody says that it may go on.
const holdTime = time.Minute

// save ends the connection and has none made until the server may go on.
func (p *process) save() *State {
	p.mu.Lock()
	p.held, p.connected = true, false
	if p.conn != nil {
		_ = p.conn.Close()
	}
	p.mu.Unlock()
	time.AfterFunc(holdTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held = false
		p.changed.Broadcast()
	})
	return p.server.Save(context.Background())
}
