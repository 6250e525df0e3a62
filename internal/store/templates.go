package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// Position is a place in a list sorted by creation time, newest first, and then by ID.
// The zero value is the start of the list.
type Position struct {
	CreatedAt time.Time
	ID        string
}

func (p Position) micros() int64 {
	if p.CreatedAt.IsZero() {
		return math.MaxInt64
	}
	return micros(p.CreatedAt)
}

// CreateTemplate stores a template without its aliases. ErrExists if the ID is taken.
func (s *Store) CreateTemplate(ctx context.Context, t shoal.Template) error {
	return insertTemplate(ctx, s.q, t)
}

func insertTemplate(ctx context.Context, q *sqlcgen.Queries, t shoal.Template) error {
	if t.Source == "" {
		t.Source = shoal.SourceTemplate
	}
	n, err := q.InsertTemplate(ctx, sqlcgen.InsertTemplateParams{ID: t.ID, TeamID: t.TeamID,
		Source: string(t.Source), Public: t.Public, CreatedAt: micros(t.CreatedAt), UpdatedAt: micros(t.UpdatedAt)})
	return changed(n, err, ErrExists, "create template "+t.ID)
}

// AddAlias gives a template another name. ErrExists if the name is taken.
func (s *Store) AddAlias(ctx context.Context, templateID string, alias shoal.Alias) error {
	n, err := s.q.InsertAlias(ctx, sqlcgen.InsertAliasParams{Namespace: alias.Namespace,
		Name: alias.Name, TemplateID: templateID})
	return changed(n, err, ErrExists, "name template "+templateID)
}

// RemoveAlias takes a name from a template. ErrNotFound if it does not have it.
func (s *Store) RemoveAlias(ctx context.Context, templateID string, alias shoal.Alias) error {
	n, err := s.q.DeleteAlias(ctx, sqlcgen.DeleteAliasParams{Namespace: alias.Namespace,
		Name: alias.Name, TemplateID: templateID})
	return changed(n, err, ErrNotFound, "take name "+alias.Name+" from template "+templateID)
}

// DeleteTemplate hides a template and frees its names; its ID stays taken. It fails the
// template's unfinished builds with the given reason and returns their IDs. ErrNotFound
// if the template is already deleted.
func (s *Store) DeleteTemplate(ctx context.Context, id, reason string,
	at time.Time) (stopped []string, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.DeleteTemplate(ctx, sqlcgen.DeleteTemplateParams{ID: id, DeletedAt: micros(at)})
		if err := changed(n, err, ErrNotFound, "delete template "+id); err != nil {
			return err
		}
		if err := q.DeleteAliases(ctx, id); err != nil {
			return fmt.Errorf("free the names of template %s: %w", id, err)
		}
		if stopped, err = q.ListActiveBuildsOf(ctx, id); err != nil {
			return fmt.Errorf("list the builds of template %s: %w", id, err)
		}
		return failAll(ctx, q, stopped, shoal.BuildReason{Message: reason}, at)
	})
	return stopped, err
}

// SetPublic makes a template visible to every team or only to its own. ErrNotFound if it
// does not exist.
func (s *Store) SetPublic(ctx context.Context, id string, public bool, at time.Time) error {
	n, err := s.q.SetTemplatePublic(ctx, sqlcgen.SetTemplatePublicParams{
		ID: id, Public: public, UpdatedAt: micros(at)})
	return changed(n, err, ErrNotFound, "change template "+id)
}

// Template returns a template by its ID. ErrNotFound if it was deleted.
func (s *Store) Template(ctx context.Context, id string) (shoal.Template, error) {
	row, err := s.q.TemplateByID(ctx, id)
	if err != nil {
		return shoal.Template{}, lookup(err, "find template "+id)
	}
	return s.withAliases(ctx, row)
}

// TemplateByAlias returns the template with the given alias.
func (s *Store) TemplateByAlias(ctx context.Context, alias shoal.Alias) (shoal.Template, error) {
	row, err := s.q.TemplateByAlias(ctx, sqlcgen.TemplateByAliasParams{
		Namespace: alias.Namespace, Name: alias.Name})
	if err != nil {
		return shoal.Template{}, lookup(err, "find template "+alias.Name)
	}
	return s.withAliases(ctx, row)
}

// Templates returns a team's templates, oldest first, without snapshot templates.
func (s *Store) Templates(ctx context.Context, teamID string) ([]shoal.Template, error) {
	rows, err := s.q.ListTemplates(ctx, teamID)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	return s.allWithAliases(ctx, rows)
}

// TemplatesAfter returns up to limit of a team's templates that follow the
// position, newest first.
func (s *Store) TemplatesAfter(ctx context.Context, teamID string, after Position,
	limit int) ([]shoal.Template, error) {
	rows, err := s.q.ListTemplatesBefore(ctx, sqlcgen.ListTemplatesBeforeParams{TeamID: teamID,
		CreatedAt: after.micros(), ID: after.ID, Limit: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	return s.allWithAliases(ctx, rows)
}

// CountSpawns adds n to the count of sandboxes started from a template.
func (s *Store) CountSpawns(ctx context.Context, templateID string, n int64, last time.Time) error {
	err := s.q.CountSpawns(ctx, sqlcgen.CountSpawnsParams{
		ID: templateID, SpawnCount: n, LastSpawnedAt: micros(last)})
	return lookup(err, "count sandboxes of template "+templateID)
}

func (s *Store) allWithAliases(ctx context.Context, rows []sqlcgen.Template) ([]shoal.Template, error) {
	list := make([]shoal.Template, len(rows))
	for i, row := range rows {
		t, err := s.withAliases(ctx, row)
		if err != nil {
			return nil, err
		}
		list[i] = t
	}
	return list, nil
}

func (s *Store) withAliases(ctx context.Context, row sqlcgen.Template) (shoal.Template, error) {
	return withAliases(ctx, s.q, row)
}

func withAliases(ctx context.Context, q *sqlcgen.Queries, row sqlcgen.Template) (shoal.Template, error) {
	t := shoal.Template{ID: row.ID, TeamID: row.TeamID, Public: row.Public,
		Source: shoal.TemplateSource(row.Source), CreatedAt: fromMicros(row.CreatedAt),
		UpdatedAt: fromMicros(row.UpdatedAt), LastSpawnedAt: fromMicros(row.LastSpawnedAt),
		SpawnCount: row.SpawnCount, BuildCount: int32(row.BuildCount)}
	aliases, err := q.AliasesOf(ctx, row.ID)
	if err != nil {
		return t, fmt.Errorf("list the names of template %s: %w", row.ID, err)
	}
	for _, a := range aliases {
		t.Aliases = append(t.Aliases, shoal.Alias{Namespace: a.Namespace, Name: a.Name})
	}
	return t, nil
}
