package machine

import (
	"path/filepath"

	"shoal/internal/image"
)

// trustStore is where an operator adds certificate authorities to the host.
const trustStore = "/usr/local/share/ca-certificates"

// certificateAuthorities returns the files with the authorities that every guest trusts.
func (m *Machine) certificateAuthorities() []string {
	files, _ := filepath.Glob(filepath.Join(trustStore, "*.crt"))
	return append(files, m.cfg.TrustCA...)
}

func (m *Machine) guestEnv() map[string]string {
	if len(m.certificateAuthorities()) == 0 {
		return nil
	}
	return image.TrustEnv()
}
