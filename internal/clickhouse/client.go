// Package clickhouse is a client of ClickHouse servers, by their HTTP protocol: statements with
// parameters, rows in and out as JSON. It knows nothing of what is kept there.
package clickhouse

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	dialTime = 3 * time.Second
	// maxAnswer bounds an answer, in bytes; statements have limits that keep theirs far below.
	maxAnswer = 64 << 20
	maxError  = 2 << 10 // bytes of what the server says went wrong
)

// Client speaks to one server about one database. It is safe for concurrent use. How long a call
// may take is up to its context.
type Client struct {
	base     *url.URL // without the database
	user     string
	password string
	database string
	http     *http.Client
}

// Options are how a server is reached.
type Options struct {
	URL      string      // http or https, such as http://user@127.0.0.1:8123/database
	Password string      // of the URL's user
	TLS      *tls.Config // nil trusts what the system does
}

// New returns a client. It does not connect yet.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("clickhouse: the address is not a URL") // it is not quoted: it may have a secret
	}
	c := &Client{user: u.User.Username(), password: o.Password, database: strings.Trim(u.Path, "/"),
		base: &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:     (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSClientConfig: o.TLS, TLSHandshakeTimeout: dialTime,
			MaxIdleConnsPerHost: 4, MaxConnsPerHost: 16, IdleConnTimeout: 30 * time.Second,
		},
		// A redirect would take the password along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// MakeDatabase creates the client's database, unless it is there.
func (c *Client) MakeDatabase(ctx context.Context) error {
	return c.In("system").Exec(ctx, "CREATE DATABASE IF NOT EXISTS {db:Identifier}", Params{"db": c.database})
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Database returns the name of the database.
func (c *Client) Database() string { return c.database }

// In returns a client of another database of the server, which shares c's connections.
func (c *Client) In(database string) *Client {
	other := *c
	other.database = database
	return &other
}

// Exec runs a statement that returns no rows.
func (c *Client) Exec(ctx context.Context, sql string, params Params) error {
	body, err := c.send(ctx, params, strings.NewReader(sql), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(body, maxAnswer))
	return err
}

// Select passes on each row that a statement returns, as an object whose fields are named as its
// columns. It ends at the first error.
func Select[T any](ctx context.Context, c *Client, sql string, params Params, visit func(T) error) error {
	body, err := c.send(ctx, params, strings.NewReader(sql+"\nFORMAT JSONEachRow"), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	rows := json.NewDecoder(io.LimitReader(body, maxAnswer))
	for {
		var row T
		switch err := rows.Decode(&row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("clickhouse: read a row: %w", err)
		}
		if err := visit(row); err != nil {
			return err
		}
	}
}

// Insert adds rows to a table, all of them at once or, unless they are very many, none. Each is an
// object whose fields are named as the table's columns. The name of the table is trusted.
func Insert[T any](ctx context.Context, c *Client, table string, rows []T) error {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	lines := json.NewEncoder(zip)
	lines.SetEscapeHTML(false)
	for _, row := range rows {
		if err := lines.Encode(row); err != nil {
			return fmt.Errorf("clickhouse: write a row of %s: %w", table, err)
		}
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("clickhouse: pack rows of %s: %w", table, err)
	}
	body, err := c.send(ctx, nil, &packed, url.Values{
		"query": {"INSERT INTO " + table + " FORMAT JSONEachRow"}})
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(body, maxAnswer))
	return err
}

// send sends a statement, or what the statement in more takes, and returns the answer's body. Of an
// error, the code and the beginning of what the server says are an [*Error].
func (c *Client) send(
	ctx context.Context, params Params, body io.Reader, more url.Values,
) (io.ReadCloser, error) {
	query := url.Values{
		"database": {c.database},
		// An answer begins when it is whole, so its status is right.
		"wait_end_of_query": {"1"},
		// 64-bit numbers are numbers, whatever the version's own choice.
		"output_format_json_quote_64bit_integers":      {"0"},
		"cancel_http_readonly_queries_on_client_close": {"1"},
		"enable_http_compression":                      {"1"},
	}
	if end, ok := ctx.Deadline(); ok { // the server need not go on for nobody
		query.Set("max_execution_time", strconv.Itoa(int(time.Until(end).Seconds())+1))
	}
	for name, values := range more {
		query[name] = values
	}
	for name, value := range params {
		text, err := textOf(value)
		if err != nil {
			return nil, fmt.Errorf("clickhouse: parameter %s: %w", name, err)
		}
		query.Set("param_"+name, text)
	}
	to := *c.base
	to.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), body)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	if more != nil {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if c.user != "" {
		req.Header.Set("X-ClickHouse-User", c.user)
		req.Header.Set("X-ClickHouse-Key", c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", unwrapURL(err))
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
		code, _ := strconv.Atoi(resp.Header.Get("X-ClickHouse-Exception-Code"))
		return nil, &Error{Status: resp.StatusCode, Code: code, Text: strings.TrimSpace(string(text))}
	}
	return resp.Body, nil
}

// unwrapURL leaves out the URL of a request, which has the values of parameters.
func unwrapURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}
