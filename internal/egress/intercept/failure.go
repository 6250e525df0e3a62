package intercept

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"shoal/internal/shoal"
)

// guestFailure tells why a guest has ended its handshake.
func guestFailure(err error) error {
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" {
		for _, alert := range distrust {
			if remote.Err.Error() == alert.Error() { // the type that it has is not exported
				return shoal.ErrTransformPinned.Wrap(err, "The client does not trust the sandbox's authority").
					Because("%s", alert)
			}
		}
	}
	return fmt.Errorf("%w: %w", ErrHandshake, err)
}

// ErrHandshake is of a guest that has not ended its handshake, for another reason than distrust.
var ErrHandshake = errors.New("the guest's handshake failed")

// distrust are the alerts about certificates (RFC 8446, section 6.2).
var distrust = []tls.AlertError{
	42, // bad certificate
	43, // unsupported certificate
	44, // revoked
	45, // expired
	46, // unknown certificate
	48, // unknown authority
}

// certificateFailure names what is wrong with a server's certificate, but not what the machine trusts.
func certificateFailure(server string, err error) error {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	why := "it does not follow the rules for certificates"
	switch {
	case errors.As(err, &name):
		why = "it is for other names"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		why = "it has expired or is not valid yet"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		why = "it is signed by an unknown authority"
	}
	return shoal.ErrTransformCertificate.Wrap(err, "The certificate of %s cannot be verified", server).
		Because("%s", why)
}

// serverFailure is the failure of a request that the server has not answered.
func serverFailure(server string, err error) error {
	var known *shoal.Error
	if errors.As(err, &known) {
		return known
	}
	return shoal.ErrTransformServer.Wrap(err, "%s did not answer", server)
}

// fillFailure is the failure of a request whose values cannot be had. What a filler says to
// tenants is passed on.
func fillFailure(server string, err error) error {
	if shoal.ErrTransformFill.Matches(err) {
		return err
	}
	failed := shoal.ErrTransformFill.Wrap(err, "A value for requests to %s cannot be filled in", server)
	var known *shoal.Error
	if errors.As(err, &known) {
		return failed.Because("%s", known.Message)
	}
	return failed
}
