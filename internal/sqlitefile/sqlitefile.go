// Package sqlitefile opens SQLite databases, which are files of this machine.
package sqlitefile

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"modernc.org/sqlite"
)

// Durability says what a commit waits for.
type Durability string

const (
	// Durable commits are on the disk when they return.
	Durable Durability = "FULL"
	// Volatile commits do not wait for the disk, so a power failure may lose the last ones.
	Volatile Durability = "OFF"
)

// Open opens or creates a database, whose file, and so its journal, only its owner can read. A
// write waits for others for as long as busy, in milliseconds. The pragmas hold for every connection.
//
// Transactions take the write lock when they begin, because one that begins as a reader cannot
// wait for the lock later.
func Open(path string, d Durability, busy, connections int, pragmas ...string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the database file: %w", err)
	}
	f.Close()
	all := append([]string{fmt.Sprintf("busy_timeout(%d)", busy), "journal_mode(WAL)",
		fmt.Sprintf("synchronous(%s)", d)}, pragmas...)
	options := url.Values{"_txlock": {"immediate"}, "_pragma": all}
	db := sql.OpenDB(connector{&sqlite.Driver{}, "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options.Encode()})
	db.SetMaxOpenConns(connections)
	return db, nil
}

// suffixes are those of a database's files.
var suffixes = []string{"", "-wal", "-shm"}

// Remove removes a database that nobody has open, if it is there.
func Remove(path string) error {
	return each(func(suffix string) error { return os.Remove(path + suffix) })
}

// Rename gives a database that nobody has open another path.
func Rename(from, to string) error {
	return each(func(suffix string) error { return os.Rename(from+suffix, to+suffix) })
}

func each(do func(suffix string) error) error {
	for _, suffix := range suffixes {
		if err := do(suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
