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
	// Shoal's own authority is for clients, and each new one would change the base image.
	files = slices.DeleteFunc(files, func(file string) bool {
		return strings.HasPrefix(filepath.Base(file), certificate.TrustedPrefix)
	})
	return append(files, m.cfg.TrustCA...)
}

func (m *Machine) guestEnv() map[string]string {
	if len(m.certificateAuthorities()) == 0 {
		return nil
	}
	return image.TrustEnv()
}
