package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type webhookCmd struct {
	Team       string               `help:"Slug of the team. The first team by default." placeholder:"SLUG"`
	JSON       bool                 `name:"json" help:"One JSON object a line."`
	List       webhookListCmd       `cmd:"" help:"List the webhooks."`
	Add        webhookAddCmd        `cmd:"" help:"Have events sent to an address."`
	Rm         webhookRmCmd         `cmd:"" help:"Remove a webhook by its ID."`
	Test       webhookTestCmd       `cmd:"" help:"Send an event that tells of nothing, and see how that goes."`
	Deliveries webhookDeliveriesCmd `cmd:"" help:"List what was sent to a webhook, and what waits."`
	Replay     webhookReplayCmd     `cmd:"" help:"Send the event of a delivery once more."`
}

type webhookListCmd struct{}

type webhookAddCmd struct {
	Name   string   `arg:"" help:"What it is for."`
	URL    string   `arg:"" name:"url" help:"Where events are sent to."`
	Events []string `placeholder:"TYPE,…" help:"Types of events, such as killed. All by default."`
	Secret string   `env:"SHOAL_WEBHOOK_SECRET" required:"" placeholder:"SECRET" help:"Secret of the signatures."`
}

type webhookRmCmd struct {
	ID string `arg:"" help:"ID of the webhook, as 'webhook list' shows it."`
}

type webhookTestCmd struct {
	ID   string        `arg:"" help:"ID of the webhook, as 'webhook list' shows it."`
	Wait time.Duration `default:"30s" help:"How long to wait for the end of the delivery."`
}

type webhookDeliveriesCmd struct {
	ID    string `arg:"" help:"ID of the webhook, as 'webhook list' shows it."`
	Limit int    `default:"50" help:"How many, 1000 at most."`
}

type webhookReplayCmd struct {
	ID       string `arg:"" help:"ID of the webhook."`
	Delivery string `arg:"" help:"ID of the delivery, as 'webhook deliveries' shows it."`
}

// webhookLine and deliveryLine are what --json prints.
type webhookLine struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	URL       string            `json:"url"`
	Enabled   bool              `json:"enabled"`
	Events    []shoal.EventType `json:"events"`
	CreatedAt time.Time         `json:"createdAt"`
}

type deliveryLine struct {
	ID             string               `json:"id"`
	EventID        string               `json:"eventId,omitempty"`
	EventType      shoal.EventType      `json:"eventType"`
	SandboxID      string               `json:"sandboxId,omitempty"`
	Status         shoal.DeliveryStatus `json:"status"`
	Attempts       int                  `json:"attempts"`
	CreatedAt      time.Time            `json:"createdAt"`
	ResponseStatus int                  `json:"responseStatus,omitempty"`
	ErrorClass     string               `json:"errorClass,omitempty"`
	ErrorMessage   string               `json:"errorMessage,omitempty"`
}

func (webhookListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withWebhooks(ctx, cfg, all, func(st *store.Store, team shoal.Team) error {
		list, err := st.Webhooks(ctx, team.ID)
		if err != nil {
			return err
		}
		if all.Webhook.JSON {
			for _, w := range list {
				if err := printLine(webhookLine{w.ID, w.Name, w.URL, w.Enabled, w.Events, w.CreatedAt}); err != nil {
					return err
				}
			}
			return nil
		}
		rows := make([][]string, len(list))
		for i, w := range list {
			var types []string
			for _, t := range w.Events {
				types = append(types, strings.TrimPrefix(string(t), eventPrefix))
			}
			rows[i] = []string{w.ID, w.Name, strconv.FormatBool(w.Enabled), w.URL, strings.Join(types, ",")}
		}
		return printTable("ID\tNAME\tENABLED\tURL\tEVENTS", rows)
	})
}

func (c *webhookAddCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	types, err := parseEventTypes(c.Events)
	if err != nil {
		return err
	}
	if len(types) == 0 {
		types = shoal.EventTypes
	}
	return withWebhooks(ctx, cfg, all, func(st *store.Store, team shoal.Team) error {
		w := shoal.Webhook{ID: shoal.NewWebhookID(), TeamID: team.ID, Name: c.Name, URL: c.URL, Enabled: true,
			Events: types, Secret: c.Secret, CreatedAt: time.Now().UTC()}
		err := w.Check()
		if err == nil {
			err = st.AddWebhook(ctx, w)
		}
		switch {
		case err != nil:
			return err
		case all.Webhook.JSON:
			return printLine(webhookLine{w.ID, w.Name, w.URL, w.Enabled, w.Events, w.CreatedAt})
		}
		fmt.Println(w.ID)
		return nil
	})
}

func (c *webhookRmCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withWebhooks(ctx, cfg, all, func(st *store.Store, team shoal.Team) error {
		return st.RemoveWebhook(ctx, team.ID, c.ID)
	})
}

// Run opens a delivery, which a running api makes within seconds.
func (c *webhookTestCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withWebhooks(ctx, cfg, all, func(st *store.Store, team shoal.Team) error {
		w, err := st.Webhook(ctx, team.ID, c.ID)
		if err != nil {
			return err
		}
		if !w.Enabled {
			return shoal.ErrWebhookDisabled.New("webhook %s is disabled", w.ID)
		}
		d := shoal.NewTestDelivery(w, w.Events[0], time.Now().UTC())
		if err := st.AddDelivery(ctx, d); err != nil {
			return err
		}
		return c.await(ctx, st, d, all.Webhook.JSON)
	})
}

// await prints a delivery once it was tried.
func (c *webhookTestCmd) await(ctx context.Context, st *store.Store, d shoal.Delivery, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := st.Delivery(ctx, d.TeamID, d.WebhookID, d.ID)
		if err == nil && now.Attempts > 0 {
			if err := printDeliveries([]shoal.Delivery{now}, asJSON); err != nil {
				return err
			}
			if now.Status != shoal.DeliveryDelivered {
				return errReported
			}
			return nil
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("delivery %s was not tried within %s; an api must be running", d.ID, c.Wait)
		case <-tick.C:
		}
	}
}

func (c *webhookDeliveriesCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withWebhooks(ctx, cfg, all, func(st *store.Store, team shoal.Team) error {
		if _, err := st.Webhook(ctx, team.ID, c.ID); err != nil {
			return err
		}
		list, err := st.Deliveries(ctx, team.ID, c.ID, min(max(c.Limit, 1), maxListed), 0)
		if err != nil {
			return err
		}
		return printDeliveries(list, all.Webhook.JSON)
	})
}

func (c *webhookReplayCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withWebhooks(ctx, cfg, all, func(st *store.Store, team shoal.Team) error {
		old, err := st.Delivery(ctx, team.ID, c.ID, c.Delivery)
		if err != nil {
			return err
		}
		d := old.Again(time.Now().UTC())
		if err := st.AddDelivery(ctx, d); err != nil {
			return err
		}
		if all.Webhook.JSON {
			return printDeliveries([]shoal.Delivery{d}, true)
		}
		fmt.Println(d.ID)
		return nil
	})
}

func printDeliveries(list []shoal.Delivery, asJSON bool) error {
	if asJSON {
		for _, d := range list {
			err := printLine(deliveryLine{d.ID, d.EventID, d.EventType, d.SandboxID, d.Status, d.Attempts, d.CreatedAt,
				d.Last.ResponseStatus, d.Last.ErrorClass, d.Last.ErrorMessage})
			if err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, len(list))
	for i, d := range list {
		rows[i] = []string{d.ID, d.CreatedAt.Format(time.RFC3339), strings.TrimPrefix(string(d.EventType), eventPrefix),
			d.SandboxID, string(d.Status), strconv.Itoa(d.Attempts), strconv.Itoa(d.Last.ResponseStatus),
			d.Last.ErrorMessage}
	}
	return printTable("ID\tTIME\tTYPE\tSANDBOX\tSTATUS\tATTEMPTS\tANSWER\tERROR", rows)
}

func printLine(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// withWebhooks is withSealed for the team of the command.
func withWebhooks(ctx context.Context, cfg *config.Config, all *commands, f func(*store.Store, shoal.Team) error) error {
	return withSealed(ctx, cfg, all.Webhook.Team, f)
}
