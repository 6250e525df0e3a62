package intercept

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"shoal/internal/shoal"
)

// guestFailure tells why a guest has ended its handshake.
func guestFailure(err error) error {
	var alert tls.AlertError
	if errors.As(err, &alert) && isDistrust(alert) {
		return shoal.ErrTransformPinned.Wrap(err, "The client does not trust the sandbox's authority").
			Because("%s", alert)
	}
	return fmt.Errorf("the guest's handshake: %w", err)
}

// isDistrust tells whether an alert is about a certificate (RFC 8446, section 6.2).
func isDistrust(alert tls.AlertError) bool {
	const badCertificate, certificateUnknown, unknownCA = 42, 46, 48
	return alert >= badCertificate && alert <= certificateUnknown || alert == unknownCA
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
