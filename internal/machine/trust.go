package machine

import (
	"path/filepath"
	"slices"
	"strings"

	"shoal/internal/certificate"
	"shoal/internal/image"
)

// trustStore is where an operator adds certificate authorities to the host.
const trustStore = "/usr/local/share/ca-certificates"

// certificateAuthorities returns the files with the authorities that every guest trusts.
func (m *Machine) certificateAuthorities() []string {
	files, _ := filepath.Glob(filepath.Join(trustStore, "*.crt"))
	return append(forGuests(files), m.cfg.TrustCA...)
}

// forGuests leaves out Shoal's own authority, which is for clients: each new one would change
// the base image.
func forGuests(files []string) []string {
	return slices.DeleteFunc(files, func(file string) bool {
		return strings.HasPrefix(filepath.Base(file), certificate.TrustedPrefix)
	})
}

func (m *Machine) guestEnv() map[string]string {
	if len(m.certificateAuthorities()) == 0 {
		return nil
	}
	return image.TrustEnv()
}
