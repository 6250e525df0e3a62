package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type userTokenCmd struct {
	Create userTokenCreateCmd `cmd:"" help:"Make an access token and print it; it is shown this once."`
	List   userTokenListCmd   `cmd:"" help:"List the tokens, masked."`
	Rm     userTokenRmCmd     `cmd:"" help:"Remove a token by its ID."`
}

type userTokenCreateCmd struct {
	Email string `arg:"" help:"Address of the user."`
	Name  string `arg:"" optional:"" default:"token" help:"What the token is for."`
	JSON  bool   `name:"json" help:"Print the token and what is known of it as JSON."`
}

type userTokenListCmd struct {
	Email string `arg:"" help:"Address of the user."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

type userTokenRmCmd struct {
	Email string `arg:"" help:"Address of the user."`
	ID    string `arg:"" help:"The token's ID, as 'user token list' shows it."`
}

// shownToken is an access token in JSON.
type shownToken struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Token     string    `json:"token,omitempty"`
	Masked    string    `json:"masked"`
	CreatedAt time.Time `json:"createdAt"`
}

func showToken(t shoal.AccessToken) shownToken {
	return shownToken{ID: t.ID, Name: t.Name, Masked: masked(auth.UserTokenPrefix, t.Mask), CreatedAt: t.CreatedAt}
}

func (c *userTokenCreateCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withUser(ctx, cfg, c.Email, func(st *store.Store, u shoal.User) error {
		plaintext, token, err := auth.NewPeople(st).CreateToken(ctx, u.ID, c.Name)
		if err != nil {
			return err
		}
		if c.JSON {
			shown := showToken(token)
			shown.Token = plaintext
			return printJSON(shown)
		}
		fmt.Println(plaintext)
		return nil
	})
}

func (c *userTokenListCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withUser(ctx, cfg, c.Email, func(st *store.Store, u shoal.User) error {
		tokens, err := st.AccessTokens(ctx, u.ID)
		if err != nil {
			return err
		}
		shown, rows := make([]shownToken, len(tokens)), make([][]string, len(tokens))
		for i, t := range tokens {
			shown[i] = showToken(t)
			rows[i] = []string{t.ID, t.Name, shown[i].Masked, day(t.CreatedAt)}
		}
		if c.JSON {
			return printJSON(shown)
		}
		return printTable("ID\tNAME\tTOKEN\tMADE", rows)
	})
}

func (c *userTokenRmCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withUser(ctx, cfg, c.Email, func(st *store.Store, u shoal.User) error {
		return st.DeleteAccessToken(ctx, u.ID, c.ID)
	})
}

func findUser(ctx context.Context, st *store.Store, email string) (shoal.User, error) {
	u, err := st.UserByEmail(ctx, strings.ToLower(strings.TrimSpace(email)))
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("no user has the address %q; 'shoal user list' shows all: %w", email, err)
	}
	return u, err
}
