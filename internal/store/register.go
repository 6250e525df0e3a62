package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// The refusals of RegisterBuild besides the general ones.
var (
	// ErrNameIsID means that a template has the wanted name as its ID.
	ErrNameIsID = errors.New("the name is a template's ID")
	// ErrNameTaken means that the name leads to what cannot be rebuilt by it.
	ErrNameTaken = errors.New("the name is taken")
)

// TooManyBuilds means that the team has as many builds under way as it may.
type TooManyBuilds struct {
	Waiting int // those of them that were registered and never started
}

func (e *TooManyBuilds) Error() string {
	return fmt.Sprintf("too many builds are under way, of which %d wait for their start", e.Waiting)
}

// activeFor is how long an unfinished build counts against its team's limit
// (templates.md §1.12).
const activeFor = 24 * time.Hour

// Registration asks for a new build of the team's template of a name, which is
// made if the team has none.
type Registration struct {
	Team  shoal.Team
	Alias shoal.Alias
	Tags  []string
	// Build has its ID, resources and times; it waits.
	Build shoal.Build
	// Superseded is the reason for the end of waiting builds that share a tag.
	Superseded string
}

// RegisterBuild stores a waiting build with its tags, and its template and name
// if they are new. Waiting builds of the template that share a tag are ended;
// builds under way and ready ones stay as they are (templates.md §1.6).
func (s *Store) RegisterBuild(ctx context.Context, r Registration) (t shoal.Template, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		// Registrations of one team take turns, so that neither a name is given
		// twice nor the limit exceeded.
		n, err := q.LockTeam(ctx, r.Team.ID)
		if err := changed(n, err, ErrNotFound, "lock team "+r.Team.ID); err != nil {
			return err
		}
		id, err := templateToBuild(ctx, q, r)
		if err != nil {
			return err
		}
		r.Build.TemplateID, r.Build.Status = id, shoal.BuildWaiting
		if err := insertBuild(ctx, q, r.Build); err != nil {
			return err
		}
		for _, tag := range r.Tags {
			if err := assign(ctx, q, r.Build, tag); err != nil {
				return err
			}
		}
		if err := supersede(ctx, q, r); err != nil {
			return err
		}
		row, err := q.TemplateByID(ctx, id)
		if err != nil {
			return lookup(err, "find template "+id)
		}
		t, err = withAliases(ctx, q, row)
		return err
	})
	return t, err
}

// templateToBuild finds the template of the name, or makes it.
func templateToBuild(ctx context.Context, q *sqlcgen.Queries, r Registration) (string, error) {
	row, err := q.TemplateByAlias(ctx, sqlcgen.TemplateByAliasParams{Namespace: r.Alias.Namespace, Name: r.Alias.Name})
	if err == nil {
		if row.TeamID != r.Team.ID || row.Source != string(shoal.SourceTemplate) {
			return "", ErrNameTaken
		}
		return row.ID, nil
	}
	if err = lookup(err, "find template "+r.Alias.Name); !errors.Is(err, ErrNotFound) {
		return "", err
	}
	if _, err := q.TemplateByID(ctx, r.Alias.Name); err == nil {
		return "", ErrNameIsID
	} else if err = lookup(err, "find template "+r.Alias.Name); !errors.Is(err, ErrNotFound) {
		return "", err
	}
	t := shoal.Template{ID: shoal.NewTemplateID(), TeamID: r.Team.ID, CreatedAt: r.Build.CreatedAt, UpdatedAt: r.Build.CreatedAt}
	if err := insertTemplate(ctx, q, t); err != nil {
		return "", err
	}
	n, err := q.InsertAlias(ctx, sqlcgen.InsertAliasParams{Namespace: r.Alias.Namespace, Name: r.Alias.Name, TemplateID: t.ID})
	return t.ID, changed(n, err, ErrNameTaken, "name template "+t.ID)
}

// supersede ends the new build's waiting siblings, and refuses it if the team's
// other builds fill the limit.
func supersede(ctx context.Context, q *sqlcgen.Queries, r Registration) error {
	siblings, err := q.ListSiblings(ctx, r.Build.ID)
	if err != nil {
		return fmt.Errorf("list the siblings of build %s: %w", r.Build.ID, err)
	}
	ours := []string{r.Build.ID}
	for _, row := range siblings {
		ours = append(ours, row.ID)
		if row.Status == string(shoal.BuildWaiting) {
			if err := failBuild(ctx, q, row.ID, shoal.BuildReason{Message: r.Superseded}, r.Build.CreatedAt); err != nil {
				return err
			}
		}
	}
	active, err := q.ListActiveBuilds(ctx, sqlcgen.ListActiveBuildsParams{TeamID: r.Team.ID, CreatedAt: micros(r.Build.CreatedAt.Add(-activeFor))})
	if err != nil {
		return fmt.Errorf("count the builds under way: %w", err)
	}
	others, waiting := 0, 0
	for _, row := range active {
		if slices.Contains(ours, row.ID) {
			continue
		}
		others++
		if row.Status == string(shoal.BuildWaiting) {
			waiting++
		}
	}
	if others >= r.Team.Limits.ConcurrentBuilds {
		return &TooManyBuilds{Waiting: waiting}
	}
	return nil
}
