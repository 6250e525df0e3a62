package envd

import (
	"errors"
	"os"
	"strings"

	"shoal/internal/envdapi"
)

// machineID is the /etc/machine-id that an init system makes where there is none
// (machine-id(5)). It is another one in each sandbox and stays the same for as long as the
// sandbox lives; one that a template brings along is left alone. identityMu guards it.
type machineID struct {
	ours string // what this daemon, or the one before it on this disk, has written; "" if nothing
}

// adopt takes over what an earlier daemon on the disk has written.
func (m *machineID) adopt(of string) {
	if of != "" {
		m.ours = envdapi.MachineID(of)
	}
}

// write writes the ID of a sandbox or template, whose own ID may be "" while it is not known.
func (m *machineID) write(path, of string) error {
	if of == "" {
		return nil
	}
	id := envdapi.MachineID(of)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	switch current := strings.TrimSpace(string(data)); current {
	case id:
		m.ours = id
		return nil
	case "", "uninitialized", m.ours:
	default:
		return nil
	}
	if err := replaceReadOnly(path, id+"\n"); err != nil {
		return err
	}
	m.ours = id
	return nil
}
