package outbound

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// Failure is an exchange that did not succeed. Its text is made of our own words: the
// errors below it may quote addresses, names of resolvers, certificates and answers, and
// the text is for tenants.
type Failure struct {
	reason string
	err    error
}

var _ net.Error = (*Failure)(nil)

// Error says what failed; "it" is the server.
func (f *Failure) Error() string { return f.reason }

// Unwrap returns what is not for tenants.
func (f *Failure) Unwrap() error { return f.err }

// Timeout reports whether the server was too slow.
func (f *Failure) Timeout() bool {
	var below net.Error
	return errors.As(f.err, &below) && below.Timeout()
}

// Temporary reports whether another try may succeed at once.
func (f *Failure) Temporary() bool {
	var below interface{ Temporary() bool }
	return errors.As(f.err, &below) && below.Temporary()
}

// reason words an error of net, tls or http.
func reason(err error) string {
	var lookup *net.DNSError
	var operation *net.OpError
	var below net.Error
	switch {
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return "its name is not known"
	case errors.As(err, &lookup):
		return "its name cannot be looked up"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return "its certificate is not trusted; the operator adds authorities by --trust-ca"
	case errors.As(err, &below) && below.Timeout():
		return "it does not answer in time"
	case errors.As(err, &operation) && operation.Op == "dial":
		return "it does not accept connections"
	case errors.As(err, &operation) && operation.Op == "proxyconnect":
		return "the operator's proxy does not connect to it"
	case errors.As(err, &operation), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it broke the connection off"
	default:
		return "its answer is not understood"
	}
}
