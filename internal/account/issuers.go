package account

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"shoal/internal/api"
	"shoal/internal/auth"
	"shoal/internal/issuer"
	"shoal/internal/shoal"
)

// Issuer is a provider at which people sign in, with what they are in teams by their groups there.
type Issuer struct {
	Name   string
	Client *issuer.Client
	Roles  func(groups []string) map[string]shoal.Role
}

const (
	callbackPath = "/sign-in/callback"
	// tryTime is how long a browser may be away at an issuer.
	tryTime = 10 * time.Minute
)

func tryCookieName(r *http.Request) string {
	if r.TLS != nil {
		return shoal.SecurePrefix + shoal.TryCookie
	}
	return shoal.TryCookie
}

// setTry has the browser keep an attempt, or forget it if there is none.
func setTry(w http.ResponseWriter, r *http.Request, t *issuer.Try) {
	c := &http.Cookie{Name: tryCookieName(r), Path: "/", HttpOnly: true, Secure: r.TLS != nil,
		SameSite: http.SameSiteLaxMode, MaxAge: -1}
	if t != nil {
		text, _ := json.Marshal(t) // texts always encode
		c.Value, c.MaxAge = base64.RawURLEncoding.EncodeToString(text), int(tryTime/time.Second)
	}
	http.SetCookie(w, c)
}

// takeTry returns the attempt that the browser keeps.
func takeTry(r *http.Request) (t issuer.Try) {
	c, err := r.Cookie(tryCookieName(r))
	if err != nil {
		return t
	}
	if text, err := base64.RawURLEncoding.DecodeString(c.Value); err != nil || json.Unmarshal(text, &t) != nil {
		return issuer.Try{}
	}
	return t
}

// callback is the address that issuers send browsers back to. They know it beforehand, so a made-up
// host leads nowhere.
func (p *Pages) callback(r *http.Request) string {
	if p.publicURL != "" {
		return p.publicURL + callbackPath
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host + callbackPath
}

// leave sends the browser to an issuer.
func (p *Pages) leave(w http.ResponseWriter, r *http.Request) error {
	n, err := strconv.Atoi(r.Form.Get("issuer"))
	if err != nil || n < 0 || n >= len(p.issuers) {
		return shoal.ErrBadRequest.New("There is no such issuer to sign in at")
	}
	address, t, err := p.issuers[n].Client.Begin(r.Context(), p.callback(r))
	if err != nil {
		return shoal.ErrSignInIssuer.Wrap(err, "%s cannot be reached", p.issuers[n].Name)
	}
	setTry(w, r, &t)
	http.Redirect(w, r, address, http.StatusSeeOther)
	return nil
}

// comeBack signs in who comes back from an issuer, in the browser that went there.
func (p *Pages) comeBack(w http.ResponseWriter, r *http.Request) error {
	secret, u, err := p.finish(r)
	setTry(w, r, nil)
	api.Tell(r.Context(), deed("SignIn", u, err))
	if err != nil {
		return err
	}
	return p.enter(w, r, secret)
}

func (p *Pages) finish(r *http.Request) (secret string, u shoal.User, err error) {
	t := takeTry(r)
	if !t.Is(r.Form.Get("state")) {
		return "", u, shoal.ErrSignInPage.New("This browser did not begin to sign in, or too long ago")
	}
	for _, one := range p.issuers {
		if one.Client.URL() != t.Issuer {
			continue
		}
		code := r.Form.Get("code")
		if iss := r.Form.Get("iss"); code == "" || iss != "" && iss != t.Issuer {
			return "", u, shoal.ErrSignInIssuer.New("%s did not let you in: %.64s", one.Name,
				strings.ToValidUTF8(r.Form.Get("error"), "?"))
		}
		person, err := one.Client.Finish(r.Context(), t, code, p.callback(r))
		if err != nil {
			return "", u, shoal.ErrSignInIssuer.Wrap(err, "%s did not confirm who you are", one.Name)
		}
		return p.auth.SignInVouched(r.Context(), auth.Vouched{Identity: person.Identity, Email: person.Email,
			Roles: one.Roles(person.Groups)})
	}
	return "", u, shoal.ErrSignInPage.New("People do not sign in at that issuer any more")
}
