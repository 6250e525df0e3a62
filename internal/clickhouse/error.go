package clickhouse

import (
	"errors"
	"fmt"
)

// Codes of the server's errors.
const (
	CodeUnknownTable    = 60
	CodeUnknownDatabase = 81
	CodeWrongPassword   = 516
)

// Error is what a server has refused.
type Error struct {
	Status int    // of HTTP
	Code   int    // of ClickHouse, 0 if it is something else that answers
	Text   string // the beginning of what it says
}

func (e *Error) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("clickhouse: answered with status %d: %s", e.Status, e.Text)
	}
	return "clickhouse: " + e.Text
}

// Is reports whether an error is one of a server's codes.
func Is(err error, codes ...int) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}
