package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

const (
	// switchPeriod is how often it is read how a feature stands that machines refuse.
	switchPeriod = 2 * time.Second
	// switchRepeat is how often machines are told what has not changed: one may have lost its disk.
	switchRepeat = 20 * time.Second
)

// TellSwitch tells every machine how a feature stands that machines refuse by themselves, and what
// becomes of it, until ctx ends. It calls read every two seconds.
func (f *Fleet) TellSwitch(
	ctx context.Context, feature shoal.Switches, read func(context.Context) (shoal.Standing, error),
) error {
	tick := time.NewTicker(switchPeriod)
	defer tick.Stop()
	var told shoal.Standing
	var again time.Time // the zero value: not everybody was told
	trouble := ""
	for {
		standing, err := read(ctx)
		if err == nil && (!standing.Equal(told) || !time.Now().Before(again)) {
			if err = f.tellAll(ctx, feature, standing); err == nil {
				told, again = standing, time.Now().Add(switchRepeat)
			} else {
				again = time.Time{}
			}
		}
		trouble = f.reportSwitch(ctx, feature, err, trouble)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *Fleet) tellAll(ctx context.Context, feature shoal.Switches, standing shoal.Standing) error {
	errs := make([]error, len(f.members))
	var g errgroup.Group
	for i, m := range f.members {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			if err := m.node.Switch(ctx, feature, standing); err != nil {
				errs[i] = fmt.Errorf("machine %s: %w", m.view().Info.ID, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// reportSwitch logs what keeps machines from knowing how a feature stands, if it was something else
// before, and returns it.
func (f *Fleet) reportSwitch(ctx context.Context, feature shoal.Switches, err error, before string) string {
	if err == nil || ctx.Err() != nil {
		return ""
	}
	if trouble := err.Error(); trouble != before {
		f.log.Warn("some machines do not know how a switch stands", "switch", feature.String(), "error", err)
	}
	return err.Error()
}
