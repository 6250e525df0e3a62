package doctor

import (
	"context"
	"strconv"
	"strings"

	"shoal/internal/config"
	"shoal/internal/live"
)

// redisMajor is the oldest version whose scripts may ask for the time before they write.
const redisMajor = 5

// askRedis asks Redis what apis ask of it. Without it each goes on by itself, so nothing is fatal.
func askRedis(ctx context.Context, cfg *config.Config) []Result {
	if cfg.Redis == "" {
		return nil
	}
	s, err := live.Inspect(ctx, live.Config{URL: cfg.Redis, CA: cfg.RedisCA})
	if err != nil {
		return []Result{Warn.because("set redis (and redis-ca) to a server that this machine reaches, with the "+
			"password of a user who may write and publish",
			"Redis does not do what apis ask of it, so that each goes on by itself: %v", err)}
	}
	version := ok("Redis %s", s.Version).of("version")
	major, _, _ := strings.Cut(s.Version, ".")
	if n, _ := strconv.Atoi(major); n < redisMajor {
		version = Warn.because("use Redis "+strconv.Itoa(redisMajor)+" or later",
			"Redis %s is too old", s.Version).of("version")
	}
	clock := exchange{sent: s.Asked, told: s.Clock, received: s.Answered}
	results := []Result{ok("it answers, and runs scripts"), version, clock.judge()}
	if s.Evicts != "" {
		results = append(results, Note.because("set maxmemory-policy noeviction, or more memory",
			"it drops keys when its memory is full (%s), which gives rates back too soon", s.Evicts).of("memory"))
	}
	return results
}
