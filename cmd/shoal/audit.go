package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"shoal/internal/api"
	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" help:"List entries, newest first."`
	Export auditExportCmd `cmd:"" help:"Print all entries that are chosen as JSON, one a line, oldest first."`
}

// auditChoice says which entries are meant.
type auditChoice struct {
	Team      string `placeholder:"SLUG" help:"Only what concerns this team."`
	Actor     string `placeholder:"WHO" help:"Only by this user, token or key (an ID or name), or by this kind: user, token, key, link, operator, host, shoal or nobody."`
	Operation string `placeholder:"NAME" help:"Only this operation of the API, such as CreateSandbox, or command, such as 'shoal key create'."`
	Target    string `placeholder:"WHAT" help:"Only on what has this ID, or is of this kind, such as sandbox."`
	Since     string `placeholder:"TIME" help:"Only from then on: a time such as 2026-11-30T10:00:00Z, or how long ago, such as 24h."`
	Until     string `placeholder:"TIME" help:"Only until then."`
}

type auditListCmd struct {
	auditChoice
	Limit int  `default:"50" help:"How many, 1000 at most."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

type auditExportCmd struct {
	auditChoice
}

// query translates the choice.
func (c auditChoice) query(ctx context.Context, st *store.Store) (store.AuditQuery, error) {
	q := store.AuditQuery{Everything: c.Team == "", Actor: c.Actor, Operation: c.Operation, Target: c.Target}
	if c.Team != "" {
		team, err := st.TeamBySlug(ctx, c.Team)
		if err != nil {
			return q, fmt.Errorf("no team has the slug %q: %w", c.Team, err)
		}
		q.TeamID = team.ID
	}
	var err error
	if q.Since, err = parseMoment(c.Since); err != nil {
		return q, err
	}
	q.Until, err = parseMoment(c.Until)
	return q, err
}

// parseMoment reads a time, or how long it is ago.
func parseMoment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf(
			"%q is neither a time such as 2026-11-30T10:00:00Z nor how long ago one was, such as 24h", text)
	}
	return at, nil
}

func (c *auditListCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		q, err := c.query(ctx, st)
		if err != nil {
			return err
		}
		q.Limit = min(max(c.Limit, 1), maxListed)
		list, err := st.Audit(ctx, q)
		if err != nil {
			return err
		}
		if c.JSON {
			return printAudit(os.Stdout, list)
		}
		rows := make([][]string, len(list))
		for i, e := range list {
			rows[i] = []string{e.At.Format(time.RFC3339), whoOf(e.Actor), e.Operation, e.TargetKind + " " + e.TargetID,
				e.Address, outcomeOf(e)}
		}
		return printTable("TIME\tWHO\tWHAT\tTARGET\tFROM\tOUTCOME", rows)
	})
}

func whoOf(a shoal.Actor) string {
	for _, text := range []string{a.Name, a.ID} {
		if text != "" {
			return string(a.Kind) + " " + text
		}
	}
	return string(a.Kind)
}

func outcomeOf(e shoal.AuditEntry) string {
	text := e.ErrorCode
	if e.Status != 0 {
		text = strconv.Itoa(e.Status) + " " + text
	}
	if e.Count > 1 {
		text += fmt.Sprintf(" ×%d", e.Count)
	}
	return text
}

// exportPage is how many entries are read at once.
const exportPage = 1000

// Run ends with what was there when it began, so that it ends.
func (c *auditExportCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		q, err := c.query(ctx, st)
		if err != nil {
			return err
		}
		q.OldestFirst, q.Limit = true, exportPage
		if q.Until.IsZero() {
			q.Until = time.Now()
		}
		for {
			list, err := st.Audit(ctx, q)
			if err != nil {
				return err
			}
			if err := printAudit(os.Stdout, list); err != nil {
				return err
			}
			if len(list) < exportPage {
				return nil
			}
			last := list[len(list)-1]
			q.After = &store.AuditPlace{At: last.At, ID: last.ID}
		}
	})
}

func printAudit(w io.Writer, list []shoal.AuditEntry) error {
	encoder := json.NewEncoder(w)
	for _, e := range list {
		if err := encoder.Encode(api.WireAudit(e)); err != nil {
			return err
		}
	}
	return nil
}
