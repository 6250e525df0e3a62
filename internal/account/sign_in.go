package account

import (
	"net/http"

	"shoal/internal/api"
	"shoal/internal/auth"
	"shoal/internal/shares"
	"shoal/internal/shoal"
)

func (p *Pages) showSignIn(w http.ResponseWriter, r *http.Request) error {
	if _, err := p.auth.SessionOf(r.Context(), r.Header, r.TLS != nil); err == nil {
		http.Redirect(w, r, "/account", http.StatusSeeOther)
		return nil
	}
	return p.show(w, http.StatusOK, "sign-in.html", view{Title: "Sign in"})
}

func (p *Pages) signIn(w http.ResponseWriter, r *http.Request) error {
	secret, u, err := p.auth.SignIn(r.Context(), r.PostForm.Get("email"), r.PostForm.Get("password"), shares.AddressOf(r))
	api.Tell(r.Context(), deed("SignIn", u, err))
	if err != nil {
		known := shoal.AsError(err)
		if known.Status >= http.StatusInternalServerError {
			return err
		}
		api.Fail(r.Context(), err)
		return p.show(w, known.Status, "sign-in.html",
			view{Title: "Sign in", Message: known.Message, Email: r.PostForm.Get("email")})
	}
	return p.enter(w, r, secret)
}

// deed is what the audit log says of a sign-in; nobody knows who failed at one.
func deed(operation string, u shoal.User, err error) api.Deed {
	d := api.Deed{Operation: operation, Refused: err != nil}
	if u.ID != "" {
		d.Actor = auth.PersonActor(u)
	}
	return d
}

// enter gives the browser its session.
func (p *Pages) enter(w http.ResponseWriter, r *http.Request, secret string) error {
	http.SetCookie(w, auth.Cookie(secret, r.TLS != nil))
	http.Redirect(w, r, "/account", http.StatusSeeOther)
	return nil
}

func (p *Pages) signOut(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	api.Tell(r.Context(), deed("SignOut", s.User, nil))
	if err := p.auth.SignOut(r.Context(), s); err != nil {
		return err
	}
	http.SetCookie(w, auth.Cookie("", r.TLS != nil))
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	return nil
}

// showWelcome shows a form for the password of who has a link. It uses nothing up: programs that
// look at links in messages open them too.
func (p *Pages) showWelcome(w http.ResponseWriter, r *http.Request) error {
	link := r.Form.Get("link")
	u, err := p.auth.Invited(r.Context(), link)
	if err != nil {
		api.Tell(r.Context(), deed("OpenPasswordLink", shoal.User{}, err))
		return err
	}
	return p.show(w, http.StatusOK, "welcome.html",
		view{Title: "Welcome", Link: link, Email: u.Email, First: u.ID == ""})
}

func (p *Pages) welcome(w http.ResponseWriter, r *http.Request) error {
	f := r.PostForm
	if f.Get("password") != f.Get("again") {
		return shoal.ErrPassword.New("The two passwords differ")
	}
	secret, u, err := p.auth.Accept(r.Context(), f.Get("link"), f.Get("email"), f.Get("password"))
	d := deed("SetPassword", u, nil)
	d.TargetKind, d.TargetID, d.Refused = "user", u.ID, shoal.ErrSignInLink.Matches(err)
	api.Tell(r.Context(), d)
	if err != nil {
		return err
	}
	return p.enter(w, r, secret)
}

func (p *Pages) changePassword(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	f := r.PostForm
	d := deed("SetPassword", s.User, nil)
	d.TargetKind, d.TargetID = "user", s.User.ID
	api.Tell(r.Context(), d)
	if f.Get("password") != f.Get("again") {
		return shoal.ErrPassword.New("The two passwords differ")
	}
	secret, err := p.auth.ChangePassword(r.Context(), s, f.Get("present"), f.Get("password"), shares.AddressOf(r))
	if err != nil {
		return err
	}
	return p.enter(w, r, secret)
}
