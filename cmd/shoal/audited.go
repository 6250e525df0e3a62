package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"shoal/internal/controlplane"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// auditedCommands are those that change what is in the database, or take all of it away, and so are
// told by the audit log.
// The value is the kind of what the first argument names. TestCommandsAreAudited knows the others.
var auditedCommands = map[string]string{
	"gc": "", "key create": "", "key rename": "key", "key rm": "key",
	"team create": "team", "team admit": "team", "team dismiss": "team", "team block": "team", "team ban": "team",
	"team publish": "team", "team limits": "team",
	"user create": "user", "user invite": "user", "user rm": "user", "user link": "user", "user unlink": "user",
	"user token create": "user", "user token rm": "user",
	"service create": "service", "service key": "service", "service rm": "service",
	"tier add": "tier", "tier change": "tier", "tier remove": "tier",
	"switch on": "switch", "switch off": "switch", "switch reset": "switch",
	"migrate up": "", "backup": "", "restore": "",
	"secret set": "secret", "secret rm": "secret", "secret key rotate": "", "identity rotate": "",
	"volume create": "volume", "volume rm": "volume",
	"webhook add": "", "webhook rm": "webhook", "webhook test": "webhook", "webhook replay": "webhook",
}

// auditCommand writes down a command that was carried out, or was not and failed.
func auditCommand(ctx context.Context, kctx *kong.Context, all *commands, failed error) error {
	name := commandName(kctx.Selected())
	kind, ok := auditedCommands[name]
	if !ok || leavesNoDatabase(name, failed) {
		return nil
	}
	e := shoal.AuditEntry{ID: shoal.NewAuditID(), At: time.Now(), Actor: hostActor(), Operation: "shoal " + name,
		TargetKind: kind}
	var slug string
	if arguments := kctx.Selected().Positional; kind != "" && len(arguments) > 0 {
		e.TargetID = fmt.Sprint(arguments[0].Target.Interface())
		if kind == "team" {
			slug = e.TargetID
		}
	}
	if failed != nil {
		e.ErrorCode = "failed"
		if known := (*shoal.Error)(nil); errors.As(failed, &known) {
			e.ErrorCode = known.Code
		}
	}
	// It is written also when the command was interrupted, which has ended ctx.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	st, err := controlplane.OpenStore(ctx, &all.Config)
	if err != nil && failed != nil {
		return nil // most likely it is the reason, and nothing was changed
	}
	if err != nil {
		return fmt.Errorf("the audit log has no entry of this command: %w", err)
	}
	defer st.Close()
	e.TeamID = concernedTeam(ctx, st, all, name, slug)
	if err := st.AddAudit(ctx, []shoal.AuditEntry{e.Clean()}); err != nil {
		return fmt.Errorf("the audit log has no entry of this command: %w", err)
	}
	if err := controlplane.Announce(ctx, &all.Config, st); err != nil {
		fmt.Fprintf(os.Stderr, "shoal: running apis notice the change a little later: %v\n", err)
	}
	return nil
}

// leavesNoDatabase reports whether a command has failed for want of a database, or before it made one:
// an entry would make it, and a backup could not be restored into it any more.
func leavesNoDatabase(name string, failed error) bool {
	return shoal.ErrDatabaseMissing.Matches(failed) ||
		name == "restore" && failed != nil && !shoal.ErrDatabaseNotEmpty.Matches(failed)
}

// concernedTeam finds the team whose log the entry belongs to; "" if there is none.
func concernedTeam(ctx context.Context, st *store.Store, all *commands, name, slug string) string {
	first, _, _ := strings.Cut(name, " ")
	switch first {
	case "key":
		slug = all.Key.Team
	case "service":
		slug = all.Service.Team
	case "webhook":
		slug = all.Webhook.Team
	case "secret":
		if name == "secret key rotate" {
			return ""
		}
		slug = all.Secret.Team
	case "volume":
		slug = all.Volume.Team
	case "switch":
		if slug = all.Switch.Team; slug == "" {
			return ""
		}
	case "team":
	default:
		return ""
	}
	if slug == "" { // as withTeam does
		teams, err := st.Teams(ctx)
		if err != nil || len(teams) == 0 {
			return ""
		}
		return teams[0].ID
	}
	team, err := st.TeamBySlug(ctx, slug)
	if err != nil {
		return ""
	}
	return team.ID
}

// commandName is a command without its arguments, such as "key create".
func commandName(node *kong.Node) string {
	var words []string
	for ; node != nil && node.Type == kong.CommandNode; node = node.Parent {
		words = append([]string{node.Name}, words...)
	}
	return strings.Join(words, " ")
}

// hostActor is who runs the program, by the name of the machine's user. Behind sudo it is who
// called that.
func hostActor() shoal.Actor {
	a := shoal.Actor{Kind: shoal.ActorHost}
	if u, err := user.Current(); err == nil {
		a.ID, a.Name = u.Uid, u.Username
	}
	if name := os.Getenv("SUDO_USER"); name != "" {
		a.ID, a.Name = os.Getenv("SUDO_UID"), name
	}
	return a
}
