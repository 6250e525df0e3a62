package e2e

import (
	"regexp"
	"testing"
	"time"

	"shoal/internal/issuer/issuertest"
)

var welcomeLink = regexp.MustCompile(`http://\S+/welcome\?link=\S+`)

// TestAccountPages: a person with a browser, from the link that a start prints to signing out.
func TestAccountPages(t *testing.T) {
	provider := issuertest.New(t)
	const email = "bob@example.com"
	provider.Person(map[string]any{"sub": "bob", "email": email, "email_verified": true, "groups": []string{"watchers"}})
	b := another(t, "pages", nil, "SHOAL_OUTBOUND_ALLOW=127.0.0.1",
		"SHOAL_SIGN_IN_ISSUERS="+provider.URL()+"=client="+issuertest.ClientID+" name=Example",
		"SHOAL_SIGN_IN_SECRET="+provider.URL()+"="+issuertest.ClientSecret,
		"SHOAL_SIGN_IN_GROUPS="+provider.URL()+" watchers=local-dev-team:viewer")
	if err := b.process.AwaitLine("/welcome?link=", 30*time.Second); err != nil {
		t.Fatal(err)
	}
	link := welcomeLink.FindString(b.process.Output())
	b.run(t, "../js", []string{"WELCOME_LINK=" + link, "ISSUER_EMAIL=" + email}, "node",
		"--test", "--test-timeout=300000", "--test-reporter=spec", "account/account.test.mjs")
}
