package volume

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"shoal/internal/shoal"
)

// Records are the removed volumes whose content may not be gone. The store implements it.
type Records interface {
	RemovedVolumes(ctx context.Context) ([]shoal.Volume, error)
	ForgetVolume(ctx context.Context, id string) error
}

// removePeriod is the pause between two looks for removed volumes, of which News tells earlier.
const removePeriod = time.Minute

// Remover removes the content of removed volumes. What a crash leaves is removed after the next start.
type Remover struct {
	backends Backends
	records  Records
	news     chan struct{}
	log      *slog.Logger
}

// NewRemover returns a remover that waits for Run.
func NewRemover(backends Backends, records Records, log *slog.Logger) *Remover {
	return &Remover{backends: backends, records: records, news: make(chan struct{}, 1), log: log}
}

// News says that a volume was removed.
func (r *Remover) News() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// Run removes until ctx ends.
func (r *Remover) Run(ctx context.Context) error {
	tick := time.NewTicker(removePeriod)
	defer tick.Stop()
	for {
		if err := r.remove(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("the content of a removed volume is left, and is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.news:
		}
	}
}

// remove empties what is removed by now. One that cannot be is no reason to leave the others.
func (r *Remover) remove(ctx context.Context) error {
	list, err := r.records.RemovedVolumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range list {
		if ctx.Err() != nil {
			break
		}
		dir, dirErr := r.backends.Dir(v.Backend, v.TeamID, v.ID)
		if dirErr == nil {
			dirErr = r.empty(dir)
		}
		if dirErr == nil {
			dirErr = r.records.ForgetVolume(ctx, v.ID)
		}
		err = errors.Join(err, dirErr)
	}
	return err
}

// empty removes a volume's directory. If the file system that it lies in is away, it cannot be
// told from a directory that is gone, so that must be there.
func (r *Remover) empty(dir string) error {
	err := os.RemoveAll(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
