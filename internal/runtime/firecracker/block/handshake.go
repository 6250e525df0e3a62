package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The fixed newstyle handshake, for clients that are not the kernel: those have the disk's size from it,
// and the kernel has that from us.
const (
	helloMagic  = 0x4e42444d41474943 // "NBDMAGIC"
	optionMagic = 0x49484156454f5054 // "IHAVEOPT"
	answerMagic = 0x3e889045565a9

	helloFixed    = 1 << 0
	helloNoZeroes = 1 << 1

	optionExport = 1
	optionAbort  = 2
	optionList   = 3
	optionInfo   = 6
	optionGo     = 7

	answerAck      = 1
	answerServer   = 2
	answerInfo     = 3
	answerUnsup    = 1<<31 + 1
	answerInvalid  = 1<<31 + 3
	answerUnknown  = 1<<31 + 6
	answerTooLarge = 1<<31 + 9

	infoExport    = 0
	infoBlockSize = 3

	maxOption  = 64 << 10 // bytes; of more, the connection ends
	maxOptions = 64       // of one client; a client needs three
)

// ErrHandshake means that what connected is no client that could be served.
var ErrHandshake = errors.New("no handshake of an NBD client")

var errAborted = errors.New("the client has ended the handshake")

// handshake leads to the transmission phase. Clients may name the disk, or nothing.
func handshake(conn io.ReadWriter, name string, size int64) error {
	hello := binary.BigEndian.AppendUint64(nil, helloMagic)
	hello = binary.BigEndian.AppendUint64(hello, optionMagic)
	hello = binary.BigEndian.AppendUint16(hello, helloFixed|helloNoZeroes)
	if _, err := conn.Write(hello); err != nil {
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	var flags [4]byte
	if _, err := io.ReadFull(conn, flags[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	theirs := binary.BigEndian.Uint32(flags[:])
	if theirs&^(helloFixed|helloNoZeroes) != 0 || theirs&helloFixed == 0 {
		return fmt.Errorf("%w: flags %#x", ErrHandshake, theirs)
	}
	h := haggle{conn: conn, name: name, size: size, noZeroes: theirs&helloNoZeroes != 0}
	for range maxOptions {
		done, err := h.option()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrHandshake, err)
		}
		if done {
			return nil
		}
	}
	return fmt.Errorf("%w: it asked for more than %d options", ErrHandshake, maxOptions)
}

// haggle is a handshake after its first words.
type haggle struct {
	conn     io.ReadWriter
	name     string
	size     int64
	noZeroes bool
}

// option answers one option of the client's. It tells whether the transmission begins.
func (h *haggle) option() (done bool, err error) {
	var head [16]byte
	if _, err := io.ReadFull(h.conn, head[:]); err != nil {
		return false, err
	}
	if m := binary.BigEndian.Uint64(head[:]); m != optionMagic {
		return false, fmt.Errorf("an option begins with %#x", m)
	}
	option, length := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	if length > maxOption {
		return false, errors.Join(fmt.Errorf("an option of %d bytes", length), h.answer(option, answerTooLarge, nil))
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(h.conn, data); err != nil {
		return false, err
	}
	switch option {
	case optionExport:
		return true, h.export(string(data))
	case optionAbort:
		return false, errors.Join(errAborted, h.answer(option, answerAck, nil))
	case optionList:
		if length != 0 {
			return false, h.answer(option, answerInvalid, nil)
		}
		entry := binary.BigEndian.AppendUint32(nil, uint32(len(h.name)))
		if err := h.answer(option, answerServer, append(entry, h.name...)); err != nil {
			return false, err
		}
		return false, h.answer(option, answerAck, nil)
	case optionInfo, optionGo:
		return h.goOn(option, data)
	default:
		return false, h.answer(option, answerUnsup, nil)
	}
}

// goOn answers the option that a client of today asks for.
func (h *haggle) goOn(option uint32, data []byte) (done bool, err error) {
	name, ok := decodeGo(data)
	if !ok {
		return false, h.answer(option, answerInvalid, nil)
	}
	if !h.knows(name) {
		return false, h.answer(option, answerUnknown, nil)
	}
	export := binary.BigEndian.AppendUint16(nil, infoExport)
	export = binary.BigEndian.AppendUint64(export, uint64(h.size))
	export = binary.BigEndian.AppendUint16(export, transmissionFlags)
	sizes := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{1, Size, maxPayload} { // least, preferred, most
		sizes = binary.BigEndian.AppendUint32(sizes, n)
	}
	for _, info := range [][]byte{export, sizes} {
		if err := h.answer(option, answerInfo, info); err != nil {
			return false, err
		}
	}
	return option == optionGo, h.answer(option, answerAck, nil)
}

// decodeGo reads the name from what comes with optionInfo and optionGo. The kinds of information that
// are asked for do not matter: all there are is told.
func decodeGo(data []byte) (name string, ok bool) {
	if len(data) < 6 {
		return "", false
	}
	length := binary.BigEndian.Uint32(data)
	if uint64(length)+6 > uint64(len(data)) {
		return "", false
	}
	name, data = string(data[4:4+length]), data[4+length:]
	kinds := binary.BigEndian.Uint16(data)
	return name, len(data) == 2+2*int(kinds)
}

func (h *haggle) knows(name string) bool { return name == "" || name == h.name }

// export is how old clients begin. There is no way to tell them of an error.
func (h *haggle) export(name string) error {
	if !h.knows(name) {
		return fmt.Errorf("there is no disk %.128q", name)
	}
	p := binary.BigEndian.AppendUint64(nil, uint64(h.size))
	p = binary.BigEndian.AppendUint16(p, transmissionFlags)
	if !h.noZeroes {
		p = append(p, make([]byte, 124)...)
	}
	_, err := h.conn.Write(p)
	return err
}

func (h *haggle) answer(option, kind uint32, data []byte) error {
	p := binary.BigEndian.AppendUint64(nil, answerMagic)
	p = binary.BigEndian.AppendUint32(p, option)
	p = binary.BigEndian.AppendUint32(p, kind)
	p = binary.BigEndian.AppendUint32(p, uint32(len(data)))
	_, err := h.conn.Write(append(p, data...))
	return err
}
