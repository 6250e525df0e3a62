package greeting

import (
	"golang.org/x/crypto/cryptobyte"
)

// MaxHello bounds what is read of a ClientHello, in bytes with the headers of its records. Those
// with a post-quantum key and a session ticket have up to some 4 KiB.
const MaxHello = 64 << 10

const (
	recordHandshake   = 22
	maxRecord         = 1 << 14
	typeClientHello   = 1
	extServerName     = 0
	extEncryptedHello = 0xfe0d // RFC 9849
	nameTypeHost      = 0
)

// Hello is what a client says first by TLS.
type Hello struct {
	// ServerName is in lower case; empty if the client names no server.
	ServerName string
	// Encrypted means that another name may be hidden in it (ECH), which the server then sees in
	// place of this one.
	Encrypted bool
}

// ParseHello reads a ClientHello, which may be spread over several records.
func ParseHello(data []byte) (Hello, error) {
	message, err := handshake(data)
	if err != nil {
		return Hello{}, err
	}
	return parseHello(message)
}

// handshake joins the records of a ClientHello and returns its body.
func handshake(data []byte) (cryptobyte.String, error) {
	var message []byte
	for {
		if len(message) >= 4 {
			if message[0] != typeClientHello {
				return nil, ErrNone
			}
			size := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
			if size > MaxHello {
				return nil, ErrNone
			}
			if len(message) >= 4+size {
				// More in the same record would be another message, which no client sends yet.
				if len(message) > 4+size {
					return nil, ErrNone
				}
				return message[4:], nil
			}
		}
		if len(data) > 0 && data[0] != recordHandshake || len(data) > 1 && data[1] != 3 {
			return nil, ErrNone
		}
		if len(data) < 5 {
			return nil, ErrMore
		}
		size := int(data[3])<<8 | int(data[4])
		if size == 0 || size > maxRecord {
			return nil, ErrNone
		}
		if len(data) < 5+size {
			if len(message) == 0 && len(data) > 5 && data[5] != typeClientHello {
				return nil, ErrNone
			}
			return nil, ErrMore
		}
		message = append(message, data[5:5+size]...)
		data = data[5+size:]
	}
}

func parseHello(s cryptobyte.String) (Hello, error) {
	var sessionID, suites, compression, extensions cryptobyte.String
	var version uint16
	if !s.ReadUint16(&version) || !s.Skip(32) || !s.ReadUint8LengthPrefixed(&sessionID) ||
		!s.ReadUint16LengthPrefixed(&suites) || !s.ReadUint8LengthPrefixed(&compression) {
		return Hello{}, ErrNone
	}
	var hello Hello
	if s.Empty() {
		return hello, nil
	}
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return Hello{}, ErrNone
	}
	seen := map[uint16]bool{}
	for !extensions.Empty() {
		var kind uint16
		var body cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&body) || seen[kind] {
			return Hello{}, ErrNone
		}
		seen[kind] = true
		switch kind {
		case extEncryptedHello:
			hello.Encrypted = true
		case extServerName:
			name, ok := serverName(body)
			if !ok {
				return Hello{}, ErrNone
			}
			hello.ServerName = name
		}
	}
	return hello, nil
}

// serverName takes a list of exactly one host name (RFC 6066 section 3).
func serverName(s cryptobyte.String) (string, bool) {
	var list, name cryptobyte.String
	var kind uint8
	if !s.ReadUint16LengthPrefixed(&list) || !s.Empty() || !list.ReadUint8(&kind) || kind != nameTypeHost ||
		!list.ReadUint16LengthPrefixed(&name) || !list.Empty() {
		return "", false
	}
	return canonical(string(name))
}
