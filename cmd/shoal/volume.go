package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/volume"
	"shoal/internal/volume/meter"
)

type volumeCmd struct {
	Team   string          `help:"Slug of the team. The first team by default." placeholder:"SLUG"`
	JSON   bool            `name:"json" help:"One JSON object a line."`
	List   volumeListCmd   `cmd:"" help:"List the volumes."`
	Create volumeCreateCmd `cmd:"" help:"Make a volume."`
	Rm     volumeRmCmd     `cmd:"" help:"Remove a volume by its name; its content goes while an api runs."`
	Usage  volumeUsageCmd  `cmd:"" help:"Measure what volumes take on the disk, on a machine that has them."`
}

type volumeListCmd struct{}

type volumeCreateCmd struct {
	Name string `arg:"" help:"Letters, digits, hyphens and underscores."`
}

type volumeRmCmd struct {
	Name string `arg:"" help:"Name of the volume."`
}

type volumeUsageCmd struct {
	Name string `arg:"" optional:"" help:"Name of the volume. All by default."`
}

// volumeLine is what --json prints.
type volumeLine struct {
	ID        string    `json:"volumeID"`
	Name      string    `json:"name"`
	Backend   string    `json:"backend"`
	CreatedAt time.Time `json:"createdAt"`
	Bytes     *int64    `json:"bytes,omitempty"` // only of usage
	Limit     *int64    `json:"limit,omitempty"`
}

func (volumeListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Volume.Team, func(st *store.Store, team shoal.Team) error {
		list, err := st.Volumes(ctx, team.ID)
		if err != nil {
			return err
		}
		return printVolumes(all, list, func(shoal.Volume) (bytes, limit *int64, err error) { return nil, nil, nil })
	})
}

// printVolumes prints the volumes, with what measure knows of each.
func printVolumes(all *commands, list []shoal.Volume,
	measure func(shoal.Volume) (bytes, limit *int64, err error)) error {
	head, rows := "ID\tNAME\tBACKEND\tCREATED", [][]string{}
	for _, v := range list {
		bytes, limit, err := measure(v)
		if err != nil {
			return err
		}
		if all.Volume.JSON {
			if err := printLine(volumeLine{v.ID, v.Name, v.Backend, v.CreatedAt, bytes, limit}); err != nil {
				return err
			}
			continue
		}
		row := []string{v.ID, v.Name, v.Backend, v.CreatedAt.Format(time.RFC3339)}
		if bytes != nil {
			head = "ID\tNAME\tBACKEND\tCREATED\tBYTES\tLIMIT"
			row = append(row, strconv.FormatInt(*bytes, 10), strconv.FormatInt(*limit, 10))
		}
		rows = append(rows, row)
	}
	if all.Volume.JSON {
		return nil
	}
	return printTable(head, rows)
}

func (c *volumeCreateCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	if err := shoal.CheckVolumeName(c.Name); err != nil {
		return err
	}
	backends, err := volume.ParseBackends(cfg.Volumes, cfg.DataDir)
	if err != nil {
		return err
	}
	return withTeam(ctx, cfg, all.Volume.Team, func(st *store.Store, team shoal.Team) error {
		v := shoal.Volume{ID: shoal.NewVolumeID(), TeamID: team.ID, Name: c.Name, Backend: backends[0].Name,
			CreatedAt: time.Now().UTC()}
		if err := st.AddVolume(ctx, v, team.Limits.Volumes); err != nil {
			return fmt.Errorf("make the volume %s: %w", c.Name, err)
		}
		if err := backends.Make(v); err != nil {
			return err
		}
		return printVolumes(all, []shoal.Volume{v}, func(shoal.Volume) (bytes, limit *int64, err error) { return nil, nil, nil })
	})
}

func (c *volumeRmCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Volume.Team, func(st *store.Store, team shoal.Team) error {
		list, err := volumesNamed(ctx, st, team, c.Name)
		if err != nil {
			return err
		}
		return st.RemoveVolume(ctx, team.ID, list[0].ID, time.Now())
	})
}

// volumesNamed returns the team's volume of a name, or without one all.
func volumesNamed(ctx context.Context, st *store.Store, team shoal.Team, name string) ([]shoal.Volume, error) {
	list, err := st.Volumes(ctx, team.ID)
	if err != nil || name == "" {
		return list, err
	}
	for _, v := range list {
		if v.Name == name {
			return []shoal.Volume{v}, nil
		}
	}
	return nil, fmt.Errorf("the team %s has no volume named %q", team.Slug, name)
}

func (c *volumeUsageCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	backends, err := volume.ParseBackends(cfg.Volumes, cfg.DataDir)
	if err != nil {
		return err
	}
	return withTeam(ctx, cfg, all.Volume.Team, func(st *store.Store, team shoal.Team) error {
		list, err := volumesNamed(ctx, st, team, c.Name)
		if err != nil {
			return err
		}
		return printVolumes(all, list, func(v shoal.Volume) (bytes, limit *int64, err error) {
			dir, err := backends.Existing(v.Backend, v.TeamID, v.ID)
			if err != nil {
				return nil, nil, fmt.Errorf("the volume %s is not here: %w", v.Name, err)
			}
			used, most := meter.Measure(dir), team.Limits.VolumeMB<<20
			return &used, &most, nil
		})
	})
}
