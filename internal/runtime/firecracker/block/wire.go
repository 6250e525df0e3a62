package block

import (
	"encoding/binary"
	"fmt"
)

// NBD's protocol, as its specification has it: numbers are in big endian.
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

// Flags of the transmission phase, which tell a client what the server can.
const (
	transHasFlags  = 1 << 0
	transFlush     = 1 << 2
	transFUA       = 1 << 3
	transTrim      = 1 << 5
	transZeroes    = 1 << 6
	transMultiConn = 1 << 8

	// Several connections see the same disk, and a flush on one makes durable what was completed on
	// all of them: so transMultiConn is right.
	transmissionFlags = transHasFlags | transFlush | transFUA | transTrim | transZeroes | transMultiConn
)

// Requests.
const (
	requestMagic = 0x25609513
	replyMagic   = 0x67446698
	requestSize  = 28
	replySize    = 16

	commandRead   = 0
	commandWrite  = 1
	commandEnd    = 2
	commandFlush  = 3
	commandTrim   = 4
	commandZeroes = 6

	flagFUA    = 1 << 0
	flagNoHole = 1 << 1

	// maxPayload is the most that a request reads or writes, in bytes: what clients may count on without
	// asking, and what Linux sends at most.
	maxPayload = 32 << 20
)

// Errors on the wire, which are those of Linux.
const (
	wireIO       = 5
	wireInvalid  = 22
	wireNoSpace  = 28
	wireOverflow = 75
	wireShutdown = 108
)

// request is what a client asks. Its offset and length may be anything.
type request struct {
	flags   uint16
	command uint16
	cookie  uint64
	offset  uint64
	length  uint32
}

func decodeRequest(p *[requestSize]byte) (request, error) {
	if m := binary.BigEndian.Uint32(p[:]); m != requestMagic {
		return request{}, fmt.Errorf("a request begins with %#x", m)
	}
	return request{
		flags:   binary.BigEndian.Uint16(p[4:]),
		command: binary.BigEndian.Uint16(p[6:]),
		cookie:  binary.BigEndian.Uint64(p[8:]),
		offset:  binary.BigEndian.Uint64(p[16:]),
		length:  binary.BigEndian.Uint32(p[24:]),
	}, nil
}

// check tells what is wrong with a request to a disk of some bytes, by an error for the wire.
func (r request) check(size int64) uint32 {
	allowed := uint16(0)
	switch r.command {
	case commandRead, commandTrim, commandWrite:
		allowed = flagFUA
	case commandZeroes:
		allowed = flagFUA | flagNoHole
	case commandFlush:
		if r.offset != 0 || r.length != 0 || r.flags&^flagFUA != 0 {
			return wireInvalid
		}
		return 0
	default:
		return wireInvalid
	}
	if r.flags&^allowed != 0 {
		return wireInvalid
	}
	if (r.command == commandRead || r.command == commandWrite) && r.length > maxPayload {
		return wireOverflow
	}
	if r.offset > uint64(size) || uint64(r.length) > uint64(size)-r.offset {
		if r.command == commandRead || r.command == commandTrim {
			return wireInvalid
		}
		return wireNoSpace
	}
	return 0
}

func encodeReply(p *[replySize]byte, cookie uint64, code uint32) {
	binary.BigEndian.PutUint32(p[:], replyMagic)
	binary.BigEndian.PutUint32(p[4:], code)
	binary.BigEndian.PutUint64(p[8:], cookie)
}
