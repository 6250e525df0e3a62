package controlplane

import (
	"context"
	"errors"
	"log/slog"

	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/templates"
)

// reclaimNames takes reserved names back from templates of teams that may not publish.
// Earlier versions gave them to whoever published first, and so that team's image to all
// others. The templates stay, under the names in their team's namespace.
func reclaimNames(ctx context.Context, st *store.Store, log *slog.Logger) error {
	for _, name := range templates.Reserved() {
		global := shoal.Alias{Name: name}
		t, err := st.TemplateByAlias(ctx, global)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		team, err := st.Team(ctx, t.TeamID)
		if err != nil {
			return err
		}
		if team.MayPublish {
			continue
		}
		if err := st.RemoveAlias(ctx, t.ID, global); err != nil {
			return err
		}
		log.Warn("a team that may not publish had the name of a template that ships with Shoal or E2B; "+
			"sandboxes of this name began with its image. The name was taken back",
			"name", name, "team", team.Slug, "template", t.ID, "published_at", t.UpdatedAt)
	}
	return nil
}
