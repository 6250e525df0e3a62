package config

import (
	"net/url"
	"regexp"
	"strings"
)

var redisDatabase = regexp.MustCompile(`^(/[0-9]{0,4})?$`)

// checkRedis does not quote the address, which may have a password.
func (c *Config) checkRedis(bad func(name, format string, args ...any)) {
	if c.Redis == "" {
		if c.RedisCA != "" {
			bad("redis-ca", "is set, and redis is not")
		}
		return
	}
	u, err := url.Parse(c.Redis)
	switch {
	case err != nil, u.Scheme != "redis" && u.Scheme != "rediss", u.Hostname() == "",
		!redisDatabase.MatchString(u.Path), u.RawQuery != "", u.Fragment != "":
		bad("redis", "must be redis:// or rediss://, a host, and perhaps the number of a database, such as "+
			"redis://:PASSWORD@10.0.0.5:6379/0; characters of a password that mean something in addresses are "+
			"percent-encoded")
	case c.RedisCA != "" && u.Scheme != "rediss":
		bad("redis-ca", "is for rediss://")
	}
}

// SharesDatabase reports whether other apis may be on the database.
func (c *Config) SharesDatabase() bool {
	return c.Redis != "" || strings.HasPrefix(c.Database, "postgres://") || strings.HasPrefix(c.Database, "postgresql://")
}
