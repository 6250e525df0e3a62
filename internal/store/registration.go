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

// The errors of RegisterBuild besides the package's general ones.
var (
	// ErrNameIsID means that the name is the ID of an existing template.
	ErrNameIsID = errors.New("the name is a template's ID")
	// ErrNameTaken means that the name belongs to another team's template or to a
	// snapshot, neither of which can be rebuilt under it.
	ErrNameTaken = errors.New("the name is taken")
	// ErrTooManyTemplates means that the team has as many templates as it may.
	ErrTooManyTemplates = errors.New("the team has as many templates as it may")
	// ErrKept means that the team keeps as many templates or builds as it may.
	ErrKept = errors.New("the team keeps as many templates or builds as it may")
)

// TooManyBuilds means that the team has reached its limit of unfinished builds.
type TooManyBuilds struct {
	Waiting int // how many of them were registered but not started yet
}

// Error says how many of the builds are waiting.

func (e *TooManyBuilds) Error() string {
	return fmt.Sprintf("too many builds are under way, of which %d wait for their start", e.Waiting)
}

// activeFor is how long an unfinished build counts against its team's limit
// (templates.md §1.12).
const activeFor = 24 * time.Hour

// Registration asks for a new build of the team's template with the given alias. The
// template is created if it does not exist.
type Registration struct {
	Team  shoal.Team
	Alias shoal.Alias
	Tags  []string
	// Build has its ID, resources and times set. RegisterBuild sets the rest.
	Build shoal.Build
	// Superseded is the failure reason given to waiting builds that share a tag.
	Superseded string
}

// RegisterBuild stores a waiting build with its tags, and creates its template and alias
// if they are new. It fails the template's waiting builds that share a tag, and leaves
// running and ready builds as they are (templates.md §1.6).
func (s *Store) RegisterBuild(ctx context.Context, r Registration) (t shoal.Template, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		// Registrations of one team take turns. Otherwise two of them could create the
		// same name or exceed the limit.
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
		if err := assign(ctx, q, r.Build, r.Build.CreatedAt, r.Tags...); err != nil {
			return err
		}
		if err := supersede(ctx, q, r); err != nil {
			return err
		}
		if n, err := kept(ctx, q, r.Team.ID); err != nil {
			return err
		} else if n > r.Team.Limits.Builds {
			return ErrKept
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

// templateToBuild returns the ID of the template with the alias, and creates it if needed.
func templateToBuild(ctx context.Context, q *sqlcgen.Queries, r Registration) (string, error) {
	row, err := q.TemplateByAlias(ctx, sqlcgen.TemplateByAliasParams{
		Namespace: r.Alias.Namespace, Name: r.Alias.Name})
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
	t := shoal.Template{ID: shoal.NewTemplateID(), TeamID: r.Team.ID,
		CreatedAt: r.Build.CreatedAt, UpdatedAt: r.Build.CreatedAt}
	if err := insertTemplate(ctx, q, t); err != nil {
		return "", err
	}
	count, err := q.CountTemplates(ctx, r.Team.ID)
	if err != nil {
		return "", fmt.Errorf("count templates: %w", err)
	}
	if count > int64(r.Team.Limits.Templates) {
		return "", ErrTooManyTemplates
	}
	n, err := q.InsertAlias(ctx, sqlcgen.InsertAliasParams{
		Namespace: r.Alias.Namespace, Name: r.Alias.Name, TemplateID: t.ID})
	return t.ID, changed(n, err, ErrNameTaken, "name template "+t.ID)
}

// supersede fails the waiting builds that the new one replaces. It returns TooManyBuilds
// if the team's other unfinished builds already reach the limit.
func supersede(ctx context.Context, q *sqlcgen.Queries, r Registration) error {
	siblings, err := q.ListSiblings(ctx, r.Build.ID)
	if err != nil {
		return fmt.Errorf("list the siblings of build %s: %w", r.Build.ID, err)
	}
	ours := []string{r.Build.ID}
	for _, row := range siblings {
		ours = append(ours, row.ID)
		if row.Status == string(shoal.BuildWaiting) {
			reason := shoal.BuildReason{Message: r.Superseded}
			if err := failBuild(ctx, q, row.ID, reason, r.Build.CreatedAt); err != nil {
				return err
			}
		}
	}
	active, err := q.ListActiveBuilds(ctx, sqlcgen.ListActiveBuildsParams{
		TeamID: r.Team.ID, CreatedAt: micros(r.Build.CreatedAt.Add(-activeFor))})
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
