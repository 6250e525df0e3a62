package issuer

import (
	"context"
	"net/http"
	"time"
)

// Sight is what an issuer was seen to publish.
type Sight struct {
	// Keys is how many keys there are to check signatures by.
	Keys int
	// Asked and Answered are this machine's time before and after the issuer dated an answer, by
	// whole seconds; Date is zero if it did not.
	Asked, Date, Answered time.Time
}

// Look asks an issuer once for all that it is asked for later, and for signIn also looks at what
// signing in there needs.
func Look(ctx context.Context, cfg Config, signIn bool, transport http.RoundTripper) (Sight, error) {
	noted := &dating{next: transport}
	client := &http.Client{Transport: noted, CheckRedirect: keepEncrypted}
	about, err := cfg.describe(ctx, client)
	if err == nil && signIn {
		err = about.checkSignIn(cfg)
	}
	if err != nil {
		return Sight{}, err
	}
	keys, err := newKeys(cfg, client, time.Now).fetchKeys(ctx)
	noted.seen.Keys = len(keys)
	return noted.seen, err
}

// dating notes when the last answer was dated. It is for one request at a time.
type dating struct {
	next http.RoundTripper
	seen Sight
}

// RoundTrip sends a request.
func (d *dating) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := d.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	date, _ := http.ParseTime(resp.Header.Get("Date")) // zero if there is none
	d.seen.Asked, d.seen.Date, d.seen.Answered = asked, date, time.Now()
	return resp, nil
}
