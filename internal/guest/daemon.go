package guest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Client speaks to the guest's daemon. token is empty while the daemon asks for none.
func (g *Guest) Client(token string) *client.Client {
	return client.New(g.slot.HostIP().String(), token)
}

// Init waits for the daemon and tells it what the sandbox is. A guest that is Claimable is
// told who it is, too; others know that. Errors are ErrEnvdAnswer, or ErrEnvdTimeout with
// the guest's last words and with ErrEnded in their chain if it ended meanwhile.
func (g *Guest) Init(ctx context.Context, body envdapi.Init, who envdapi.Facts) error {
	defer telemetry.Begin(ctx, "envd_init")()
	defer g.claim.hangUp()
	if g.claim.secret != "" && who != (envdapi.Facts{}) {
		body.Identity = &envdapi.Identity{Secret: g.claim.secret, SandboxID: who.SandboxID,
			TemplateID: who.TemplateID, TokenHash: who.TokenHash}
	}
	return g.await(ctx, func(ctx context.Context) error { return g.line().Init(ctx, body) })
}

// line is the connection that was made ahead, or one for a single use.
func (g *Guest) line() *client.Client {
	if g.claim.line != nil {
		return g.claim.line
	}
	return g.Client("")
}

// Await waits until the daemon answers, by a connection that stays open until the guest
// is claimed. Errors are Init's.
func (g *Guest) Await(ctx context.Context) error {
	g.keepLine()
	return g.await(ctx, g.claim.line.Ready)
}

// WarmUp waits for the daemon of a new guest and lets it do once what its first client
// will ask for: the first time takes several times as long as the second. Errors are
// Init's. What bash says does not count: it is in shellErr.
func (g *Guest) WarmUp(ctx context.Context, body envdapi.Init) (shellErr, err error) {
	g.keepLine()
	err = g.await(ctx, func(ctx context.Context) error {
		if err := g.claim.line.Init(ctx, body); err != nil {
			return err
		}
		shellErr = g.claim.line.WarmUp(ctx, body.DefaultUser)
		return nil
	})
	return shellErr, err
}

// Answers waits for a sign of life of the daemon of a guest that runs, for up to the given
// time. Errors are Init's.
func (g *Guest) Answers(ctx context.Context, limit time.Duration) error {
	return g.awaitFor(ctx, limit, g.Client("").Ready)
}

// keepLine makes the connection, which costs the guest a dozen system calls, ahead of the
// claim.
func (g *Guest) keepLine() {
	g.claim.line = client.New(g.slot.HostIP().String(), "", client.KeepAlive())
}

// ErrEnded is in the chain of errors of a guest that ended while its daemon was waited for.
var ErrEnded = errors.New("the guest ended")

// await bounds a wait for the daemon by DaemonTimeout and by the guest's end.
func (g *Guest) await(ctx context.Context, wait func(context.Context) error) error {
	return g.awaitFor(ctx, g.host.cfg.DaemonTimeout, wait)
}

func (g *Guest) awaitFor(ctx context.Context, limit time.Duration, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ctx, stop := cancelWhenDone(ctx, g.Done())
	defer stop()
	err := wait(ctx)
	var answer *client.AnswerError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
		return shoal.ErrEnvdAnswer.Wrap(err, "%s", answer)
	case errors.Is(err, ErrEnded):
		return shoal.ErrEnvdTimeout.Wrap(g.withConsole(err), "the guest ended before its daemon answered")
	default:
		return shoal.ErrEnvdTimeout.Wrap(g.withConsole(err), "the guest's daemon did not answer within %s", limit)
	}
}

// withConsole adds what the guest's console ends with. It may name what is the host's.
func (g *Guest) withConsole(err error) error {
	return fmt.Errorf("%w; its console ends with:\n%s", err, g.Console())
}

// cancelWhenDone ends a context when done is closed. Its goroutine ends with stop.
func cancelWhenDone(ctx context.Context, done <-chan struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-done:
			cancel(ErrEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-stopped
	}
}
