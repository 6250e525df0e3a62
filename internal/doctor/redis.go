package doctor

import (
	"context"
	"strconv"
	"strings"
	"time"

	"shoal/internal/config"
	"shoal/internal/live"
)

const (
	redisTime = 3 * time.Second
	// redisMajor is the oldest version whose scripts may ask for the time before they write.
	redisMajor = 5
)

// checkRedis asks Redis what apis ask of it. Without it each goes on by itself, so that nothing is fatal.
func checkRedis(ctx context.Context, cfg *config.Config) Result {
	if cfg.Redis == "" {
		return ok("not used; one api needs none")
	}
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	s, err := live.Inspect(ctx, live.Config{URL: cfg.Redis, CA: cfg.RedisCA})
	switch major, _, _ := strings.Cut(s.Version, "."); {
	case err != nil:
		return Warn.because("set redis (and redis-ca) to a server that this machine reaches, with the password of a user who may write and publish",
			"Redis does not do what apis ask of it, so that each goes on by itself: %v", err)
	case atoi(major) < redisMajor:
		return Warn.because("use Redis "+strconv.Itoa(redisMajor)+" or later", "Redis %s is too old", s.Version)
	case s.Evicts != "":
		return Note.because("set maxmemory-policy noeviction, or more memory",
			"Redis %s drops keys when its memory is full (%s), which gives rates back too soon", s.Version, s.Evicts)
	}
	return ok("Redis %s", s.Version)
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // 0 is too old
	return n
}
