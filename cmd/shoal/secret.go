package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/identity"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type secretCmd struct {
	Team string        `help:"Slug of the team. The first team by default." placeholder:"SLUG"`
	JSON bool          `name:"json" help:"One JSON object a line."`
	List secretListCmd `cmd:"" help:"List the secrets, without their values."`
	Set  secretSetCmd  `cmd:"" help:"Make a secret, or give one a new value: a line of the standard input."`
	Rm   secretRmCmd   `cmd:"" help:"Remove a secret by its ID or name."`
	Key  secretKeyCmd  `cmd:"" help:"Change the key by which secrets of all teams are sealed."`
}

type secretListCmd struct{}

type secretSetCmd struct {
	Name     string            `arg:"" help:"Name, 1 to 128 of A-Z, a-z, 0-9, _ and -."`
	File     string            `placeholder:"FILE" help:"Take the value from a file, as it is."`
	Metadata map[string]string `placeholder:"NAME=VALUE;…" help:"What else is to be kept with it, instead of what is."`
}

type secretRmCmd struct {
	Secret string `arg:"" help:"ID or name."`
}

type secretKeyCmd struct {
	Rotate secretKeyRotateCmd `cmd:"" help:"Have another key seal, and seal anew what there is: a new one in the data directory, or the one of seal-secret or seal-command, while former-seal-secrets has the old one."`
}

type secretKeyRotateCmd struct {
	All bool `help:"Seal anew also what the present key has sealed, such as when the program of seal-command has a new one."`
}

type identityCmd struct {
	Rotate identityRotateCmd `cmd:"" help:"Make a new key. It is published at once and signs from a day on."`
}

type identityRotateCmd struct{}

// secretLine is what --json prints.
type secretLine struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Version   int64             `json:"version"`
	Metadata  map[string]string `json:"metadata"`
	CreatedAt time.Time         `json:"createdAt"`
	UpdatedAt time.Time         `json:"updatedAt"`
}

func lineOf(s shoal.Secret) secretLine {
	return secretLine{s.ID, s.Name, s.Version, s.Metadata, s.CreatedAt, s.UpdatedAt}
}

func (secretListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Secret.Team, func(st *store.Store, team shoal.Team) error {
		var rows [][]string
		var after *store.SecretPlace
		for {
			list, err := st.Secrets(ctx, team.ID, after, maxListed)
			if err != nil {
				return err
			}
			for _, s := range list {
				after = &store.SecretPlace{At: s.CreatedAt, ID: s.ID}
				if !all.Secret.JSON {
					rows = append(rows, []string{s.ID, s.Name, strconv.FormatInt(s.Version, 10), s.UpdatedAt.Format(time.RFC3339)})
				} else if err := printLine(lineOf(s)); err != nil {
					return err
				}
			}
			if len(list) < maxListed {
				break
			}
		}
		if all.Secret.JSON {
			return nil
		}
		return printTable("ID\tNAME\tVERSION\tUPDATED", rows)
	})
}

// Run takes the value from no argument: other users of the machine read those.
func (c *secretSetCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	name, err := shoal.ParseSecretName(c.Name)
	if err != nil {
		return err
	}
	value, err := c.value()
	if err == nil {
		err = shoal.CheckSecretValue(value)
	}
	if err == nil {
		err = shoal.CheckSecretMetadata(c.Metadata)
	}
	if err != nil {
		return err
	}
	return withSealed(ctx, cfg, all.Secret.Team, func(st *store.Store, team shoal.Team) error {
		now := time.Now().UTC()
		s, err := st.ChangeSecret(ctx, team.ID, name, value, c.Metadata, now)
		if errors.Is(err, store.ErrNotFound) {
			s = shoal.Secret{ID: shoal.NewSecretID(), TeamID: team.ID, Name: name, Version: 1, Metadata: c.Metadata,
				CreatedAt: now, UpdatedAt: now}
			err = st.AddSecret(ctx, s, value, team.Limits.Secrets)
		}
		switch {
		case errors.Is(err, store.ErrFull):
			return shoal.ErrSecretLimit.New("the team has %d secrets, as many as it may", team.Limits.Secrets)
		case err != nil:
			return err
		case all.Secret.JSON:
			return printLine(lineOf(s))
		}
		fmt.Println(s.ID)
		return nil
	})
}

// value reads a file as it is, or a line.
func (c *secretSetCmd) value() (string, error) {
	if c.File != "" {
		data, err := os.ReadFile(c.File)
		if err != nil {
			return "", fmt.Errorf("read the value: %w", err)
		}
		return string(data), nil
	}
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, shoal.MaxSecretValue+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the value: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// Run needs no key: a secret whose key is lost can be removed.
func (c *secretRmCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Secret.Team, func(st *store.Store, team shoal.Team) error {
		s, err := st.Secret(ctx, team.ID, strings.ToLower(c.Secret))
		if errors.Is(err, store.ErrNotFound) {
			return shoal.ErrSecretNotFound.New("the team has no secret %q", c.Secret)
		}
		if err != nil {
			return err
		}
		return st.RemoveSecret(ctx, team.ID, s.ID)
	})
}

// Run may be cut off at any time, and called again: until all is sealed anew, both keys are kept.
func (c *secretKeyRotateCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	st, err := controlplane.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	if cfg.RotatesSealFile() && !c.All {
		if err := controlplane.Unseal(cfg, st); err != nil { // which makes the first key, if there is none
			return err
		}
		if err := st.SealAll(ctx); err != nil { // nothing is changed with a key missing
			return err
		}
		if err := cfg.BeginSealRotation(); err != nil {
			return err
		}
	}
	if err := controlplane.Unseal(cfg, st); err != nil {
		return err
	}
	done := 0
	if err := st.Reseal(ctx, c.All, func(n int) { done = n }); err != nil {
		return err
	}
	if cfg.RotatesSealFile() {
		if err := cfg.EndSealRotation(); err != nil {
			return err
		}
	}
	if all.Secret.JSON {
		return printLine(map[string]int{"sealed": done})
	}
	fmt.Printf("%d values are sealed anew.\n", done)
	if len(cfg.FormerSealSecrets) > 0 {
		fmt.Println("former-seal-secrets can go from the settings of all apis, once their seal-secret is the new one.")
	}
	return nil
}

func (identityRotateCmd) Run(ctx context.Context, cfg *config.Config) error {
	st, err := controlplane.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	if err := controlplane.Unseal(cfg, st); err != nil {
		return err
	}
	return identity.New(st, cfg.APIURL(), cfg.TrustDomainName()).Rotate(ctx)
}

// withSealed is withTeam with a store that knows the keys.
func withSealed(ctx context.Context, cfg *config.Config, slug string, f func(*store.Store, shoal.Team) error) error {
	return withTeam(ctx, cfg, slug, func(st *store.Store, team shoal.Team) error {
		if err := controlplane.Unseal(cfg, st); err != nil {
			return err
		}
		return f(st, team)
	})
}
