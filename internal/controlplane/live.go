package controlplane

import (
	"context"

	"shoal/internal/config"
	"shoal/internal/fleet"
	"shoal/internal/live"
	"shoal/internal/store"
	"shoal/internal/telemetry/logging"
)

// openLive opens what this api shares with others while it runs.
func (p *ControlPlane) openLive(ctx context.Context, cfg *config.Config) error {
	if cfg.Redis == "" {
		p.live = live.NewMemory()
		return nil
	}
	where, err := redisOf(ctx, cfg, p.store)
	if err != nil {
		return err
	}
	where.Hear = p.hear
	p.live, err = live.Open(ctx, where, p.log)
	return err
}

func redisOf(ctx context.Context, cfg *config.Config, st *store.Store) (live.Config, error) {
	installation, err := st.Installation(ctx)
	return live.Config{URL: cfg.Redis, CA: cfg.RedisCA, Installation: installation}, err
}

// hear takes what other apis tell. It is called once open has ended, or finds nothing yet to change.
func (p *ControlPlane) hear(n live.News) {
	switch n.Kind {
	case live.Changed:
		p.auth.Forget()
	case live.LogLevel:
		levels := logging.Of(p.log)
		if levels == nil {
			return
		}
		before := levels.String()
		if err := levels.Set(n.Text); err != nil {
			p.log.Warn("another api has levels of the log that this one does not know", "error", err)
			return
		}
		p.log.Warn("the level of the log was changed at another api", "from", before, "to", levels.String())
	}
}

// changed tells other apis that they must ask the store again.
func (p *ControlPlane) changed(ctx context.Context) { p.live.Tell(ctx, live.News{Kind: live.Changed}) }

func (p *ControlPlane) logLevels(ctx context.Context, levels string) {
	if !p.live.Tell(ctx, live.News{Kind: live.LogLevel, Text: levels}) {
		p.log.WarnContext(ctx, "other apis did not hear of the log's new level")
	}
}

// places is where apis agree on how many sandboxes teams have; nil if this one is alone.
func (p *ControlPlane) places(cfg *config.Config) fleet.Places {
	if cfg.SharesDatabase() {
		return p.store
	}
	return nil
}

// Announce tells the apis, if they can hear it, that a command has changed what is in the database. They
// notice within auth.CacheTTL by themselves.
func Announce(ctx context.Context, cfg *config.Config, st *store.Store) error {
	if cfg.Redis == "" {
		return nil
	}
	where, err := redisOf(ctx, cfg, st)
	if err != nil {
		return err
	}
	return live.Announce(ctx, where, live.News{Kind: live.Changed})
}
