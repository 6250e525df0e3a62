package api

import (
	"encoding/base64"
	"strings"
	"time"

	"shoal/internal/shoal"
)

const defaultPage = 100 // rows; also the most that may be asked for

// cursor is the last row of a page: what follows it is on the next one. Rows that
// are added meanwhile do not shift it.
type cursor struct {
	at time.Time
	id string
}

// encodeCursor makes a token of a cursor and of the order that it is good for
// (api.md §3.3).
func encodeCursor(c cursor, ascending bool) string {
	text := c.at.UTC().Format(time.RFC3339Nano) + "__" + c.id
	if ascending {
		text += "__asc"
	}
	return base64.URLEncoding.EncodeToString([]byte(text))
}

// decodeCursor is the reverse; "" is the start of the list.
func decodeCursor(token *string, ascending bool) (*cursor, error) {
	if token == nil || *token == "" {
		return nil, nil
	}
	invalid := shoal.ErrBadRequest.New("Invalid next token")
	text, err := base64.URLEncoding.DecodeString(*token)
	if err != nil {
		return nil, invalid
	}
	parts := strings.Split(string(text), "__")
	if ascending && len(parts) == 3 && parts[2] == "asc" {
		parts = parts[:2]
	} else if ascending || len(parts) != 2 {
		return nil, invalid
	}
	at, err := time.Parse(time.RFC3339Nano, parts[0])
	if err != nil || parts[1] == "" {
		return nil, invalid
	}
	return &cursor{at: at, id: parts[1]}, nil
}

func pageSize(limit *int32) int {
	if limit == nil {
		return defaultPage
	}
	return int(*limit)
}
