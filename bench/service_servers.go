package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/auth"
	"shoal/internal/live/livetest"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// errMissing is of a group whose servers are not installed here.
var errMissing = errors.New("is not measured")

// servers are those that an installation stands on, in directories of their own.
type servers struct {
	postgres *storetest.Server
	redis    *livetest.Server
	dir      string // of Redis
	internet *internet
}

// wants are the servers that a group needs.
type wants struct{ postgres, redis, internet bool }

// start starts them. stop ends them. Postgres writes to the disk as it does by default.
func (w wants) start(ctx context.Context) (*servers, error) {
	s := &servers{}
	var err error
	if w.postgres {
		s.postgres, err = storetest.StartServer(ctx)
	}
	if err == nil && w.redis {
		if s.dir, err = os.MkdirTemp("", "shoal-redis-"); err == nil {
			s.redis, err = livetest.StartServer(ctx, s.dir)
		}
	}
	if err == nil && w.internet {
		s.internet, err = newInternet()
	}
	if errors.Is(err, storetest.ErrMissing) || errors.Is(err, livetest.ErrMissing) {
		err = fmt.Errorf("%w: %w", errMissing, err)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// env makes them an installation's.
func (s *servers) env(ctx context.Context) (env []string, err error) {
	if s.postgres != nil {
		location, err := s.postgres.Create(ctx, "shoal_bench")
		if err != nil {
			return nil, err
		}
		env = append(env, "SHOAL_DATABASE="+location)
	}
	if s.redis != nil {
		env = append(env, "SHOAL_REDIS="+s.redis.URL())
	}
	if s.internet != nil {
		env = append(env, "SHOAL_DNS="+s.internet.Resolver, "SHOAL_TRUST_CA="+s.internet.trust())
	}
	return env, nil
}

func (s *servers) stop() {
	if s.postgres != nil {
		s.postgres.Stop()
	}
	if s.redis != nil {
		s.redis.Kill()
	}
	if s.internet != nil {
		s.internet.close()
	}
	_ = os.RemoveAll(s.dir)
}

// openStore opens a new database beside that of the installation, with the development team.
func (s *server) openStore(ctx context.Context, name string) (*store.Store, error) {
	location := filepath.Join(s.Dir, name+".db")
	if s.beside.postgres != nil {
		var err error
		if location, err = s.beside.postgres.Create(ctx, name); err != nil {
			return nil, err
		}
	}
	st, err := store.Open(ctx, location)
	if err != nil {
		return nil, err
	}
	if err := auth.NewKeys(st).EnsureDev(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}
