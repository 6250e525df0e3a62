package main

import (
	"context"
	"fmt"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type switchCmd struct {
	Team  string         `placeholder:"SLUG" help:"Slug of the team that is meant. The whole installation by default."`
	List  switchListCmd  `cmd:"" help:"List the features and whether they are on."`
	On    switchOnCmd    `cmd:"" help:"Switch a feature on; for a team whatever the installation's switch is."`
	Off   switchOffCmd   `cmd:"" help:"Switch a feature off."`
	Reset switchResetCmd `cmd:"" help:"Let the installation's switch count for a team again; for the installation, switch on."`
}

type switchListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type switchOnCmd struct {
	Switch string `arg:"" placeholder:"NAME" help:"Name of the feature, as 'switch list' shows it."`
}

type switchOffCmd struct {
	Switch string `arg:"" placeholder:"NAME" help:"Name of the feature, as 'switch list' shows it."`
}

type switchResetCmd struct {
	Switch string `arg:"" placeholder:"NAME" help:"Name of the feature, as 'switch list' shows it."`
}

// listedSwitch is a switch in JSON.
type listedSwitch struct {
	Name  string `json:"name"`
	About string `json:"about"`
	On    bool   `json:"on"`
	Fixed bool   `json:"fixed"`
	Own   bool   `json:"own"` // it was switched for the team by itself
}

// Run lists the features in the order of their names.
func (c *switchListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	fixed, err := shoal.ParseSwitches(cfg.SwitchOff)
	if err != nil {
		return err
	}
	return withSwitches(ctx, cfg, all, func(st *store.Store, teamID string) error {
		installation, team, err := st.Switches(ctx, teamID)
		if err != nil {
			return err
		}
		var shown []listedSwitch
		var rows [][]string
		for _, state := range shoal.SwitchStates(fixed, installation, team) {
			s := listedSwitch{state.Feature.String(), state.Feature.About(), state.On, state.Fixed, state.Own}
			shown = append(shown, s)
			rows = append(rows, []string{s.Name, position(s), s.About})
		}
		if c.JSON {
			return printJSON(shown)
		}
		return printTable("SWITCH\tPOSITION\tABOUT", rows)
	})
}

// printSwitches says how each feature stands for the installation: by the configuration, and by what
// was switched, if there is a database of this version to ask. It changes nothing there.
func printSwitches(ctx context.Context, cfg *config.Config) error {
	fixed, err := shoal.ParseSwitches(cfg.SwitchOff)
	if err != nil {
		return err
	}
	installation, err := switched(ctx, cfg)
	where := "the database"
	if err != nil {
		where = "the configuration alone, because the database does not say: " + err.Error()
	}
	fmt.Printf("# Switches, by %s\n", where)
	for _, state := range shoal.SwitchStates(fixed, installation, shoal.Positions{}) {
		fmt.Printf("# %s: %s\n", state.Feature, position(listedSwitch{On: state.On, Fixed: state.Fixed}))
	}
	return nil
}

// switched reads what was switched for the installation.
func switched(ctx context.Context, cfg *config.Config) (shoal.Positions, error) {
	found, err := store.Inspect(ctx, cfg.DatabaseLocation())
	if err == nil {
		err = found.Err()
	}
	if err == nil && found.Version < found.Newest {
		err = fmt.Errorf("its schema is of version %d, not %d", found.Version, found.Newest)
	}
	if err != nil {
		return shoal.Positions{}, err
	}
	var installation shoal.Positions
	err = withStore(ctx, cfg, func(st *store.Store) error {
		installation, _, err = st.Switches(ctx, "")
		return err
	})
	return installation, err
}

func position(s listedSwitch) string {
	where := "on"
	if !s.On {
		where = "off"
	}
	switch {
	case s.Fixed:
		return where + " (configuration)"
	case s.Own:
		return where + " (team)"
	}
	return where
}

// Run switches a feature on. A running API notices within auth.CacheTTL.
func (c *switchOnCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	fixed, err := shoal.ParseSwitches(cfg.SwitchOff)
	if err != nil {
		return err
	}
	return withSwitch(ctx, cfg, all, c.Switch, func(st *store.Store, teamID string, one shoal.Switches) error {
		if fixed.Has(one) {
			return shoal.ErrSwitchFixed.New("the configuration has %s off", one)
		}
		return st.SetSwitch(ctx, teamID, one, true)
	})
}

// Run switches a feature off.
func (c *switchOffCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withSwitch(ctx, cfg, all, c.Switch, func(st *store.Store, teamID string, one shoal.Switches) error {
		return st.SetSwitch(ctx, teamID, one, false)
	})
}

// Run makes it so that a feature was never switched.
func (c *switchResetCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withSwitch(ctx, cfg, all, c.Switch, func(st *store.Store, teamID string, one shoal.Switches) error {
		return st.ResetSwitch(ctx, teamID, one)
	})
}

// withSwitch is withSwitches with the feature of a name.
func withSwitch(ctx context.Context, cfg *config.Config, all *commands, name string,
	f func(*store.Store, string, shoal.Switches) error) error {
	one, err := shoal.ParseSwitch(name)
	if err != nil {
		return err
	}
	return withSwitches(ctx, cfg, all, func(st *store.Store, teamID string) error { return f(st, teamID, one) })
}

// withSwitches opens the store and calls f with the ID of the team that is meant, "" for the
// installation.
func withSwitches(ctx context.Context, cfg *config.Config, all *commands, f func(*store.Store, string) error) error {
	if all.Switch.Team == "" {
		return withStore(ctx, cfg, func(st *store.Store) error { return f(st, "") })
	}
	return withTeam(ctx, cfg, all.Switch.Team, func(st *store.Store, team shoal.Team) error { return f(st, team.ID) })
}
