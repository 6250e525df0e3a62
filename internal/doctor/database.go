package doctor

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"

	"shoal/internal/config"
	"shoal/internal/store"
)

// testedPostgres is the oldest major version of Postgres that Shoal's tests run with.
const testedPostgres = 15

// askDatabase looks at the store of the api. Nothing is made of a file that is not there yet.
func askDatabase(ctx context.Context, cfg *config.Config) []Result {
	location := cfg.DatabaseLocation()
	if _, err := os.Stat(location); !strings.Contains(location, "://") && errors.Is(err, os.ErrNotExist) {
		return []Result{ok("%s is not there yet; the first start makes it", location)}
	}
	shown := redacted(location)
	server, err := store.AskServer(ctx, location)
	if err != nil {
		return []Result{Fail.because("start the server, or mend the setting database: its address, user, password and the name of the database",
			"%s does not answer: %s", shown, withoutPassword(location, err))}
	}
	results := []Result{ok("%s answers", shown)}
	if server.Major > 0 {
		results = append(results, judgePostgres(server)...)
	}
	schema := inspectSchema(ctx, location)
	results = append(results, schema)
	if schema.Level == OK {
		results = append(results, inspectSeals(ctx, cfg, location))
	}
	return results
}

func judgePostgres(s store.Server) []Result {
	version := ok("Postgres %s", s.Version).of("version")
	if s.Major < testedPostgres {
		version = Warn.because("use a server of Postgres 15 or later",
			"Postgres %s is older than what Shoal is tested with",
			s.Version).of("version")
	}
	clock := exchange{sent: s.Asked, told: s.Clock, received: s.Answered}
	results := []Result{version, clock.judge()}
	if s.ReadOnly {
		results = append(results, Fail.because("name the primary in the setting database, or let it be promoted; and look at default_transaction_read_only",
			"the server lets nobody write: it is a standby, or set to read only").of("writes"))
	}
	if s.Free < store.Pool {
		results = append(results, Warn.because("raise max_connections of the server, or end connections of others",
			"%d more connections fit; each api opens up to %d", max(s.Free, 0), store.Pool).of("connections"))
	}
	return results
}

// inspectSchema finds migrations that are marked as done and are not, and whatever else differs.
func inspectSchema(ctx context.Context, location string) Result {
	found, err := store.Inspect(ctx, location)
	if err != nil {
		return Fail.because("see `shoal migrate status`", "the schema cannot be read: %s",
			withoutPassword(location, err)).of("schema")
	}
	for _, m := range found.Migrations {
		if len(m.Missing) > 0 {
			return Fail.because("restore a backup, or make what is missing as migration "+m.Name+" does; see `shoal migrate verify`",
				"migration %s is marked as done and lacks %s", m.Name, strings.Join(m.Missing, ", ")).of("schema")
		}
	}
	if err := found.Err(); err != nil {
		return Fail.because("see `shoal migrate verify`; restore a backup, or undo the change",
			"%v", err).of("schema")
	}
	if found.Version < found.Newest {
		return Note.because("shoal migrate up, or start the api, which does it",
			"version %d of %d", found.Version,
			found.Newest).of("schema")
	}
	return ok("version %d, as its migrations make it", found.Version).of("schema")
}

// redacted shows a location without its password.
func redacted(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "the database of the settings"
	}
	q := u.Query()
	if q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	if !strings.Contains(location, "://") {
		return location
	}
	return u.Redacted()
}

// withoutPassword is an error's text, in which some drivers quote the location.
func withoutPassword(location string, err error) string {
	text := strings.ReplaceAll(err.Error(), location, redacted(location))
	u, wrong := url.Parse(location)
	if wrong != nil {
		return text
	}
	secrets := []string{u.Query().Get("password")}
	if password, set := u.User.Password(); set {
		secrets = append(secrets, password)
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "xxxxx")
		}
	}
	return text
}
