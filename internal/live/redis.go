package live

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"golang.org/x/sync/errgroup"
)

const (
	// askTime is how long a request waits for Redis, once; when it has, Redis is taken for lost.
	askTime = 250 * time.Millisecond
	// dialTime is how long a connection may take.
	dialTime = 500 * time.Millisecond
	// beatTime is how often an api says that it is there, and so how soon it notices that Redis is back.
	beatTime = time.Second
	// goneTime is how long after its last beat an api no longer counts.
	goneTime = 5 * time.Second
)

// Config says where Redis is.
type Config struct {
	// URL is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS.
	URL string
	// CA is a file of authorities (PEM) that vouch for it; those of this machine if it is "".
	CA string
	// Installation begins the names of all keys.
	Installation string
	// Hear is called for what other apis tell, one call at a time, and for Changed when something may have
	// been missed. It may be nil.
	Hear func(News)
}

// Redis is the state that apis share by a Redis server. While that is lost, each goes on by itself, as
// docs/several-apis.md says, and looks for it every second.
type Redis struct {
	client *redis.Client
	prefix string
	name   string // of this process; another one after each start
	hear   func(News)
	log    *slog.Logger
	own    *Memory // what counts while Redis is lost
	meters *meters
	said   chan said // where sandboxes are

	advances advances

	lost    atomic.Bool
	apis    atomic.Int64 // how many there were the last time that was known; at least 1
	heardAt atomic.Int64 // Unix nanoseconds of when the own voice came back; 0 is never

	mu  sync.Mutex // guards err; a leaf
	err error      // why Redis is lost
}

var _ State = (*Redis)(nil)

// Open returns the state of a Redis server. One that does not answer is looked for by Run.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Redis, error) {
	options, err := options(cfg.URL, cfg.CA)
	if err != nil {
		return nil, err
	}
	quiet()
	r := &Redis{client: redis.NewClient(options), prefix: prefix(cfg.Installation), name: rand.Text(),
		hear: cfg.Hear, log: log, own: NewMemory(), said: make(chan said, maxSaid)}
	if r.hear == nil {
		r.hear = func(News) {}
	}
	r.apis.Store(1)
	r.meters = newMeters(r)
	r.beat(ctx)
	return r, nil
}

// prefix begins all keys of an installation. The braces keep them together in a cluster.
func prefix(installation string) string { return "shoal:{" + installation + "}:" }

// quiet keeps the library from writing to standard error: what fails is returned.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// errURL does not quote the address, which may have a password.
var errURL = errors.New("the address of Redis is not redis://HOST:PORT/DATABASE or rediss://…")

func options(url, ca string) (*redis.Options, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errURL
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTime, askTime, askTime, askTime
	o.ContextTimeoutEnabled = true
	o.MaxRetries, o.MinRetryBackoff, o.DialerRetries = 1, -1, 1
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if ca == "" || o.TLSConfig == nil {
		return o, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("read redis-ca: %w", err)
	}
	o.TLSConfig.MinVersion = tls.VersionTLS12
	o.TLSConfig.RootCAs = x509.NewCertPool()
	if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("redis-ca: %s has no certificate", ca)
	}
	return o, nil
}

// Close closes the connections. Run must have ended.
func (r *Redis) Close() error { return r.client.Close() }

// Run keeps in touch with Redis until ctx ends.
func (r *Redis) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.listen(ctx) })
	g.Go(func() error { return r.write(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(beatTime)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				r.leave(ctx)
				return nil
			case <-tick.C:
				r.beat(ctx)
			}
		}
	})
	return g.Wait()
}

// beat says that this api is there, and learns how many are. It asks also while Redis is lost.
func (r *Redis) beat(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, dialTime+askTime)
	defer cancel()
	n, err := beatScript.Run(bounded, r.client, []string{r.prefix + "apis", r.prefix + "news"}, r.name,
		goneTime.Milliseconds(), r.encode(News{Kind: kindBeat})).Int64()
	if err != nil {
		if ctx.Err() == nil {
			r.lose(err)
		}
		return
	}
	r.apis.Store(max(1, n))
	if r.lost.CompareAndSwap(true, false) {
		r.log.Info("Redis answers again", "apis", n)
		r.hear(News{Kind: Changed})
	}
}

// leave has the others no longer count this api.
func (r *Redis) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	_ = r.client.ZRem(ctx, r.prefix+"apis", r.name).Err() // otherwise its time passes
}

// lose takes Redis for lost until a beat is answered.
func (r *Redis) lose(err error) {
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	if r.lost.CompareAndSwap(false, true) {
		r.log.Warn("Redis does not answer; this api goes on by itself", "error", err)
	}
}

// ask has one question answered, unless Redis is lost, and reports whether it was.
func (r *Redis) ask(ctx context.Context, question func(context.Context) error) bool {
	if r.lost.Load() {
		r.meters.alone.Inc()
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err := question(bounded)
	if err == nil || errors.Is(err, redis.Nil) {
		return true
	}
	if ctx.Err() == nil { // otherwise the caller has gone
		r.lose(err)
	}
	r.meters.alone.Inc()
	return false
}

// silence is how long the own voice may not come back until this api takes itself for deaf.
const silence = 5 * beatTime

// Degraded returns why this api is by itself, or nil.
func (r *Redis) Degraded() error {
	if r.lost.Load() {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Errorf("Redis does not answer: %w", r.err)
	}
	if since := time.Since(time.Unix(0, r.heardAt.Load())); since > silence {
		return errors.New("Redis does not bring news of other apis")
	}
	return nil
}
