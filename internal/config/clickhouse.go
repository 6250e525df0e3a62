package config

import (
	"net/url"
	"regexp"
	"strings"

	"shoal/internal/clickhouse"
	"shoal/internal/outbound"
)

// databaseName is what a ClickHouse database may be called, so that it needs no quotes.
var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// maxClickhouseDays is a hundred years, after which the server's times end.
const maxClickhouseDays = 36500

func (c *Config) checkClickhouse(bad func(name, format string, args ...any)) {
	for name, days := range map[string]int{"clickhouse-event-days": c.ClickhouseEventDays,
		"clickhouse-metric-days": c.ClickhouseMetricDays, "clickhouse-log-days": c.ClickhouseLogDays} {
		if days < 1 || days > maxClickhouseDays {
			bad(name, "must be 1 to %d", maxClickhouseDays)
		}
	}
	if c.Clickhouse == "" {
		return
	}
	const form = "must be http:// or https://, a host and a database, such as http://shoal@127.0.0.1:8123/shoal"
	u, err := url.Parse(c.Clickhouse)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" ||
		u.Fragment != "":
		bad("clickhouse", form)
	case !databaseName.MatchString(strings.Trim(u.Path, "/")):
		bad("clickhouse", form+"; %q is no name of a database", strings.Trim(u.Path, "/"))
	default:
		if _, has := u.User.Password(); has {
			bad("clickhouse", "must not have a password; clickhouse-password is for it")
		} else if c.ClickhousePassword != "" && u.User.Username() == "" {
			bad("clickhouse-password", "is of a user, and clickhouse names none")
		}
	}
}

// OpenClickhouse returns a client of the ClickHouse server, or nil if there is none.
func (c *Config) OpenClickhouse() (*clickhouse.Client, error) {
	if c.Clickhouse == "" {
		return nil, nil
	}
	options, err := c.ClickhouseServer()
	if err != nil {
		return nil, err
	}
	return clickhouse.New(options)
}

// ClickhouseServer returns how the ClickHouse server is reached.
func (c *Config) ClickhouseServer() (clickhouse.Options, error) {
	trusted, err := outbound.Trusting(c.TrustCA)
	return clickhouse.Options{URL: c.Clickhouse, Password: c.ClickhousePassword, TLS: trusted}, err
}
