// Package account is what people see of Shoal in a browser: they sign in and out, set their
// password, and make and end access tokens and API keys. The pages need no scripts. What they
// change of keys and tokens they have the API change, in the name of who is signed in.
package account

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"shoal/internal/api"
	"shoal/internal/auth"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// maxForm is what a form may have, in bytes.
const maxForm = 16 << 10

//go:embed pages
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"day": func(t time.Time) string { return t.Format("2006-01-02 15:04") },
}).ParseFS(files, "pages/*.html"))

// Pages answers the addresses that people open.
type Pages struct {
	api   *api.Server
	auth  *auth.Authenticator
	store *store.Store
	log   *slog.Logger

	passwords bool
	issuers   []Issuer
	publicURL string
}

// Config says how people sign in.
type Config struct {
	Auth      *auth.Authenticator
	Store     *store.Store
	Passwords bool
	Issuers   []Issuer
	PublicURL string // where browsers reach the API; "" is where each request says that it did
}

// Mount puts the pages beside the routes of an API.
func Mount(server *api.Server, cfg Config, log *slog.Logger) {
	p := &Pages{api: server, auth: cfg.Auth, store: cfg.Store, log: log, passwords: cfg.Passwords, issuers: cfg.Issuers,
		publicURL: strings.TrimSuffix(cfg.PublicURL, "/")}
	mux := http.NewServeMux()
	if cfg.Passwords {
		mux.HandleFunc("POST /sign-in", p.guard(p.signIn))
		mux.HandleFunc("GET /welcome", p.guard(p.showWelcome))
		mux.HandleFunc("POST /welcome", p.guard(p.welcome))
		mux.HandleFunc("POST /account/password", p.guard(p.withSession(p.changePassword)))
	}
	for pattern, h := range map[string]handler{
		"GET /sign-in": p.showSignIn, "GET /sign-in/with": p.leave, "GET " + callbackPath: p.comeBack,
		"POST /sign-out":       p.withSession(p.signOut),
		"GET /account":         p.withSession(p.showAccount),
		"POST /account/tokens": p.withSession(p.makeToken), "POST /account/tokens/end": p.withSession(p.endToken),
		"POST /account/keys": p.withSession(p.makeKey), "POST /account/keys/end": p.withSession(p.endKey),
	} {
		mux.HandleFunc(pattern, p.guard(h))
	}
	mux.HandleFunc("GET /account/style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		http.ServeFileFS(w, r, files, "pages/style.css")
	})
	server.Mount(mux)
}

// handler answers a request. Its error is shown on a page.
type handler func(w http.ResponseWriter, r *http.Request) error

// guard refuses forms that other sites' pages send, and bounds those of our own.
func (p *Pages) guard(next handler) http.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// Nothing from elsewhere is loaded, no other page shows these, and nothing is kept.
		h.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		err := protection.Check(r)
		if err != nil {
			err = shoal.ErrSignInPage.New("The form was sent by a page of another site")
		} else if err = r.ParseForm(); err != nil {
			err = shoal.ErrBadRequest.New("The form cannot be read")
		} else {
			err = next(w, r)
		}
		if err != nil {
			p.fail(w, r, err)
		}
	}
}

type sessionHandler func(w http.ResponseWriter, r *http.Request, s auth.Session) error

// withSession sends who is not signed in to do that. What changes something must come from a form
// that was made for the session.
func (p *Pages) withSession(next sessionHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s, err := p.auth.SessionOf(r.Context(), r.Header, r.TLS != nil)
		switch {
		case errors.Is(err, auth.ErrNoSession):
			http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
			return nil
		case err != nil:
			return err
		case r.Method != http.MethodGet && !auth.Equal(r.PostForm.Get("csrf"), s.CSRF()):
			return shoal.ErrSignInPage.New("The form is not of this session")
		}
		return next(w, r, s)
	}
}

// view is what the pages show.
type view struct {
	Title   string
	Message string // what went wrong
	Fix     string
	Session auth.Session
	CSRF    string
	Link    string // the secret of a link that sets a password
	Email   string
	First   bool   // the link makes the first person
	Secret  string // a key or token that is shown this once
	Tokens  []shoal.AccessToken
	Teams   []team
	NoMore  bool // access tokens are not made any more
	// Passwords means that people sign in by them, and Issuers are where they sign in besides.
	Passwords bool
	Issuers   []Issuer
}

// show writes a page.
func (p *Pages) show(w http.ResponseWriter, status int, page string, v view) error {
	v.Passwords, v.Issuers = p.passwords, p.issuers
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, page, v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the caller may be gone
	return nil
}

// fail shows an error. What lies under it is in the log under the request's ID.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	known := shoal.AsError(err)
	api.Fail(r.Context(), err)
	v := view{Title: "That did not work", Message: known.Message, Fix: known.Fix}
	if known.Status >= http.StatusInternalServerError {
		v.Fix = "The request's ID is " + shoal.RequestID(r.Context()) + ". " + known.Fix
	}
	if err := p.show(w, known.Status, "failure.html", v); err != nil {
		p.log.Error("a page cannot be shown", "error", err)
	}
}
