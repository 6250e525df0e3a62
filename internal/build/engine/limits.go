package engine

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/build"
)

// How long the parts of a build may take (templates.md §1.12). A step may use what is left
// of the whole build's hour.
const (
	lookupLimit    = 2 * time.Minute
	pullLimit      = 10 * time.Minute
	provisionLimit = 5 * time.Minute
	transferLimit  = 10 * time.Minute
	configureLimit = 5 * time.Minute
)

// within bounds a part of a build. Exceeding the limit is a failure of the template, whose
// message names the part and gives advice.
func within(ctx context.Context, limit time.Duration, what, advice string,
	do func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(bounded)
	if err != nil && bounded.Err() == context.DeadlineExceeded && ctx.Err() == nil {
		return &build.Failure{Message: fmt.Sprintf("%s took longer than %s, which is the limit; %s", what,
			limit, advice)}
	}
	return err
}
