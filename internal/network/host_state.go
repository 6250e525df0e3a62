package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
	"shoal/internal/shoal"
)

const forwardSetting = "/proc/sys/net/ipv4/ip_forward"

// hostState is the host's state before the first installation of Shoal changed it. The last one
// to go puts it back.
type hostState struct {
	Forward string `json:"ipForward"`
	// Mounted means that the directory of namespaces was not a mount.
	Mounted bool `json:"namespacesMounted,omitempty"`
}

// alone runs f while no other installation changes the host's settings, or puts them back. Else
// one that begins could take what another has set for the host's own. Lock order: mu before this.
func (h *host) alone(f func() error) error {
	if err := os.MkdirAll(filepath.Dir(h.state), 0o711); err != nil {
		return err
	}
	name := h.state + ".lock"
	for {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		err = atomicfile.Flock(file, unix.LOCK_EX)
		if err != nil || isFile(file, name) {
			if err == nil {
				err = errors.Join(f(), os.Remove(name))
			}
			return errors.Join(err, file.Close())
		}
		file.Close() // whoever had the lock has removed it
	}
}

// isFile tells whether a name is still that of an open file.
func isFile(file *os.File, name string) bool {
	have, err := file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(name)
	return err == nil && os.SameFile(have, now)
}

// keepForwarding turns IP forwarding on again if something has turned it off.
func (h *host) keepForwarding() error {
	data, err := os.ReadFile(forwardSetting)
	if err != nil {
		return err
	}
	if _, err := os.Stat(h.state); err == nil && strings.TrimSpace(string(data)) == "1" {
		return nil
	}
	return h.alone(h.enableForwarding)
}

// enableForwarding turns IP forwarding on, after saving the host's own setting.
func (h *host) enableForwarding() error {
	data, err := os.ReadFile(forwardSetting)
	if err != nil {
		return err
	}
	value := strings.TrimSpace(string(data))
	if _, err := os.Stat(h.state); errors.Is(err, os.ErrNotExist) {
		saved, err := json.Marshal(hostState{Forward: value, Mounted: h.mounted})
		if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(h.state, saved, 0o600, atomicfile.Volatile); err != nil {
			return fmt.Errorf("remember the host's settings: %w", err)
		}
	}
	if value == "1" {
		return nil
	}
	return os.WriteFile(forwardSetting, []byte("1"), 0)
}

// remove deletes the table, and restores the host's settings if it was the last.
func (h *host) remove() error { return h.alone(h.removeAlone) }

func (h *host) removeAlone() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: h.plan.table(), Family: nftables.TableFamilyIPv4}
	c.AddTable(t)
	c.DelTable(t)
	if err := c.Flush(); err != nil {
		return err
	}
	if others, err := otherInstallations(c); err != nil || others {
		return err
	}
	saved, err := readState(h.state)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && saved.Forward != "" {
		err = os.WriteFile(forwardSetting, []byte(saved.Forward), 0)
	}
	if err == nil && saved.Mounted {
		err = releaseNamespaceDir(namespaceDir)
	}
	return errors.Join(err, os.Remove(h.state))
}

// otherInstallations tells whether the host has a table of any. One that another program has
// removed is back soon, and so is forwarding; see mend.
func otherInstallations(c *nftables.Conn) (bool, error) {
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool {
		return t.Name == defaultTable || strings.HasPrefix(t.Name, tablePrefix)
	}), nil
}

// readState reads what the host was like before Shoal.
func readState(file string) (hostState, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return hostState{}, err
	}
	var saved hostState
	if err := json.Unmarshal(data, &saved); err != nil {
		return hostState{}, shoal.ErrNetworkState.Wrap(err, "%s is damaged, so %s stays as Shoal has set it", file,
			forwardSetting)
	}
	return saved, nil
}
