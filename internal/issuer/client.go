package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

// ClientConfig is an issuer at which people sign in by a browser (OpenID Connect Core 1.0, section 3.1).
type ClientConfig struct {
	URL       string
	Discovery string // "" is its well-known address
	ID        string // which client of the issuer this installation is
	Secret    string // "" is a client without one
	Scopes    []string
	Groups    string // the claim that names a person's groups
}

// Client has people sign in at an issuer, by an authorization code that is bound to their browser.
type Client struct {
	cfg    ClientConfig
	tokens *Issuers // this one alone, for the client's own tokens
	http   *http.Client
	about  *published[description]
	free   chan struct{} // has a token for each exchange that may begin
}

// maxExchanges is how many codes are exchanged at once; anybody can send made-up ones.
const maxExchanges = 16

// NewClient returns a client, which asks the issuer by the transport when it is first needed.
func NewClient(cfg ClientConfig, transport http.RoundTripper, log *slog.Logger) *Client {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // with the secret
	c := &Client{cfg: cfg, free: make(chan struct{}, maxExchanges),
		http:   &http.Client{Transport: transport, CheckRedirect: stay},
		tokens: New([]Config{{URL: cfg.URL, Discovery: cfg.Discovery, Audiences: []string{cfg.ID}}}, transport, log)}
	c.about = &published[description]{fetch: c.fetchDescription, now: time.Now,
		none: errors.New("the issuer was not asked yet")}
	for range maxExchanges {
		c.free <- struct{}{}
	}
	return c
}

// URL is the issuer's.
func (c *Client) URL() string { return c.cfg.URL }

// Try is one attempt to sign in, which the browser keeps meanwhile.
type Try struct {
	Issuer   string `json:"issuer"`
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

// Is reports whether a state is the attempt's, in constant time.
func (t Try) Is(state string) bool {
	return t.State != "" && subtle.ConstantTimeCompare([]byte(t.State), []byte(state)) == 1
}

// Begin returns where the browser goes to sign in, and what it comes back with.
func (c *Client) Begin(ctx context.Context, redirect string) (address string, t Try, err error) {
	about, err := c.describe(ctx)
	if err != nil {
		return "", t, err
	}
	t = Try{Issuer: c.cfg.URL, State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text()}
	challenge := sha256.Sum256([]byte(t.Verifier))
	u, err := url.Parse(about.Authorization)
	if err != nil {
		return "", t, fmt.Errorf("read the address at which people sign in: %w", err)
	}
	q := u.Query()
	for name, value := range map[string]string{"response_type": "code", "client_id": c.cfg.ID, "redirect_uri": redirect,
		"scope": strings.Join(c.cfg.Scopes, " "), "state": t.State, "nonce": t.Nonce, "code_challenge_method": "S256",
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:])} {
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	return u.String(), t, nil
}

// Person is what an issuer says of who has signed in.
type Person struct {
	Identity shoal.Identity
	Email    string // "" unless the issuer has verified it
	Groups   []string
}

// Finish exchanges the code that a browser came back with.
func (c *Client) Finish(ctx context.Context, t Try, code, redirect string) (Person, error) {
	select {
	case <-c.free:
	default:
		return Person{}, errors.New("many people sign in at once")
	}
	defer func() { c.free <- struct{}{} }()
	about, err := c.describe(ctx)
	if err != nil {
		return Person{}, err
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect},
		"code_verifier": {t.Verifier}, "client_id": {c.cfg.ID}}
	basic := c.cfg.Secret != "" && (len(about.Methods) == 0 || slices.Contains(about.Methods, "client_secret_basic"))
	if c.cfg.Secret != "" && !basic {
		form.Set("client_secret", c.cfg.Secret)
	}
	ctx, cancel := context.WithTimeout(outbound.WithBodyLimit(ctx, maxAnswer), askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, about.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return Person{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic {
		req.SetBasicAuth(url.QueryEscape(c.cfg.ID), url.QueryEscape(c.cfg.Secret))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Person{}, fmt.Errorf("exchange a code at %s: %w", about.Token, err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"id_token"`
		Error string `json:"error"`
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode != http.StatusOK || err != nil || answer.Token == "" {
		return Person{}, fmt.Errorf("%s answers %s, %.64q to a code", about.Token, resp.Status, answer.Error)
	}
	return c.read(ctx, answer.Token, t)
}

// read checks the token that a code was exchanged for.
func (c *Client) read(ctx context.Context, token string, t Try) (Person, error) {
	var claims struct {
		Nonce    string `json:"nonce"`
		Party    string `json:"azp"`
		Email    string `json:"email"`
		Verified any    `json:"email_verified"`
	}
	all := map[string]any{}
	identity, err := c.tokens.verify(ctx, token, &claims, &all)
	if err != nil {
		return Person{}, err
	}
	if subtle.ConstantTimeCompare([]byte(claims.Nonce), []byte(t.Nonce)) != 1 {
		return Person{}, errors.New("the token is of another attempt to sign in")
	}
	if claims.Party != "" && claims.Party != c.cfg.ID {
		return Person{}, errors.New("the token was made for another client")
	}
	p := Person{Identity: identity, Groups: groupsOf(all[c.cfg.Groups])}
	if claims.Verified == true || claims.Verified == "true" { // some write it as a text
		p.Email = claims.Email
	}
	return p, nil
}

// groupsOf reads a claim: a list of texts, or one.
func groupsOf(claim any) []string {
	switch claim := claim.(type) {
	case string:
		return []string{claim}
	case []any:
		var groups []string
		for _, one := range claim {
			if name, ok := one.(string); ok {
				groups = append(groups, name)
			}
		}
		return groups
	}
	return nil
}

// describe returns what the issuer says of itself, which is asked for as its keys are.
func (c *Client) describe(ctx context.Context) (description, error) {
	about, fresh, err := c.about.last()
	if fresh || !c.about.mayAsk() {
		return about, err
	}
	c.about.ask(ctx)
	about, _, err = c.about.last()
	return about, err
}

func (c *Client) fetchDescription(ctx context.Context) (description, error) {
	cfg := Config{URL: c.cfg.URL, Discovery: c.cfg.Discovery}
	about, err := cfg.describe(ctx, &http.Client{Transport: c.http.Transport, CheckRedirect: keepEncrypted})
	if err != nil {
		return about, err
	}
	return about, about.checkSignIn(cfg)
}
