package installation

import (
	"errors"
	"fmt"
)

// Sweep ends what an earlier run of the same tests has left on the host when it was killed. Each
// installation is named with its subnet, as New takes them. It fails while one of them runs.
func Sweep(root string, subnets map[string]int) error {
	for name, subnet := range subnets {
		if err := sweep(root, name, subnet); err != nil {
			return fmt.Errorf("end what is left of the installation %s: %w", name, err)
		}
	}
	return nil
}

func sweep(root, name string, subnet int) (err error) {
	i, err := New(root, name, subnet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Remove()) }()
	if i.Runnable() != nil {
		return nil // so nothing ran here
	}
	return i.Down()
}
