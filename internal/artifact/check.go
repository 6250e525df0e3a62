package artifact

import (
	"context"
	"errors"
	"os"
)

// Check reads all artifacts of a directory and returns how many there are, and what is wrong with
// each that is damaged. It changes nothing, so another process may own the directory, which need not
// exist.
func Check(ctx context.Context, dir string) (n int, damaged []error, err error) {
	s := &Store{dir: dir}
	list, err := s.List()
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil, nil
	}
	for _, m := range list {
		if err := ctx.Err(); err != nil {
			return n, damaged, err
		}
		a, err := s.getLocal(m.ID)
		if err == nil {
			err = a.Verify()
		}
		switch {
		case errors.Is(err, ErrMissing), errors.Is(err, os.ErrNotExist):
			continue // it went meanwhile
		case err != nil:
			damaged = append(damaged, err)
		}
		n++
	}
	return n, damaged, err
}
