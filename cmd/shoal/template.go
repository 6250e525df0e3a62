package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"shoal/internal/config"
	"shoal/internal/shipped"
	"shoal/internal/shoal"
	"shoal/templates"
)

type templateCmd struct {
	Build templateBuildCmd `cmd:"" help:"Build a template that Shoal ships, for all teams, on the API that runs."`
	List  templateListCmd  `cmd:"" help:"List the templates that Shoal ships."`
}

type templateBuildCmd struct {
	Name []string `arg:"" help:"Names, as 'template list' shows them."`
	API  string   `name:"api" env:"E2B_API_URL" placeholder:"URL" help:"The API. That of this machine by default."`
	Key  string   `env:"E2B_API_KEY" placeholder:"KEY" help:"The API key. With --dev the development key by default."`

	Runtime         string `placeholder:"NAME" help:"Isolation runtime that sandboxes of the templates shall run by. The machine's own choice by default."`
	RuntimeRequired bool   `help:"Sandboxes of the templates run by no other runtime than --runtime names."`
}

type templateListCmd struct{}

// Run builds the named templates, one after the other.
func (c *templateBuildCmd) Run(ctx context.Context, cfg *config.Config) error {
	if c.RuntimeRequired && c.Runtime == "" {
		return errors.New("--runtime-required needs --runtime NAME")
	}
	client := &shipped.Client{API: c.API, Key: c.Key, Runtime: c.Runtime, RuntimeRequired: c.RuntimeRequired,
		Log: func(level, message string) {
			if level != "debug" {
				fmt.Println(message)
			}
		}}
	if client.API == "" {
		client.API = "http://" + config.Reachable(cfg.APIListen)
	}
	if client.Key == "" && cfg.Dev {
		client.Key = shoal.DevAPIKey
	}
	if client.Key == "" {
		return errors.New("an API key is needed: export E2B_API_KEY, or give --key")
	}
	for _, name := range c.Name {
		t, err := shipped.Find(name)
		if err != nil {
			return err
		}
		if err := client.Build(ctx, t); err != nil {
			return fmt.Errorf("template %s: %w", name, err)
		}
		fmt.Printf("Template %s is ready.\n", name)
	}
	return nil
}

// Run lists the shipped templates.
func (templateListCmd) Run() error {
	rows := make([][]string, len(templates.Shipped))
	for i, t := range templates.Shipped {
		rows[i] = []string{t.Name, strconv.Itoa(t.CPUCount), strconv.Itoa(t.MemoryMB), t.About}
	}
	return printTable("NAME\tCPUS\tMB\tWHAT IT IS", rows)
}
