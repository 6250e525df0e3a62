package live

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is what is known of a Redis server.
type Server struct {
	Version string
	// Evicts is the policy by which keys go that are still needed when its memory is full; "" if none do.
	Evicts string
	// Clock is its time, which was asked for and told at these times of this machine.
	Asked, Clock, Answered time.Time
}

// Inspect asks a server once what it is. Its errors are for the operator.
func Inspect(ctx context.Context, cfg Config) (s Server, err error) {
	o, err := options(cfg.URL, cfg.CA)
	if err != nil {
		return s, err
	}
	quiet()
	o.ReadTimeout = dialTime // there is nobody who waits
	client := redis.NewClient(o)
	defer client.Close()
	info, err := client.Info(ctx, "server", "memory").Result()
	if err != nil {
		return s, fmt.Errorf("ask for its version: %w", err)
	}
	s.Version = field(info, "redis_version")
	if policy := field(info, "maxmemory_policy"); policy != "" && policy != "noeviction" && field(info, "maxmemory") != "0" {
		s.Evicts = policy
	}
	// What apis do: a script that writes, and what ends by itself.
	key := prefix("doctor") + "rate"
	if _, err := takeScript.Run(ctx, client, []string{key}, 1, 1, 1, 0).Result(); err != nil {
		return s, fmt.Errorf("run a script that writes: %w", err)
	}
	s.Asked = time.Now()
	if s.Clock, err = client.Time(ctx).Result(); err != nil {
		return s, fmt.Errorf("ask for its time: %w", err)
	}
	s.Answered = time.Now()
	return s, nil
}

// field returns one of the lines of INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}
