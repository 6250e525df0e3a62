package shoal

// The cookies that browsers keep for the API: a session's secret, and an attempt to sign in. Over
// TLS their names begin so that browsers take them from no other host of the domain.
const (
	SessionCookie = "shoal-session"
	TryCookie     = "shoal-sign-in"
	SecurePrefix  = "__Host-"
)
