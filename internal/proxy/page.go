package proxy

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strings"

	"shoal/internal/shoal"
)

// page is an error that the proxy itself answers with (runtime.md §1.7).
type page struct {
	status  int
	title   string
	message string
	// detail is the sentence for people; if empty, the message is used.
	detail    string
	sandboxID string
	port      *uint64 // nil if no port is involved
	path      string
	limit     int    // of open requests; 0 if none is involved
	reason    string // a stable code of Shoal's own, in addition to E2B's fields
}

func notFoundPage(id, reason string) page {
	return page{status: 502, title: "Sandbox Not Found", message: "The sandbox was not found", sandboxID: id,
		reason: reason,
		detail: "It has ended, or it never existed."}
}

// limitPage is for a request that is one too many.
func limitPage(id string, kind *shoal.Kind, limit int) *page {
	return &page{status: kind.Status, title: "Too Many Connections", sandboxID: id, limit: limit, reason: kind.Code,
		message: fmt.Sprintf("%s The limit is %d. %s", kind.Cause, limit, kind.Fix)}
}

// badBodyPage is for a request whose body cannot be read.
func badBodyPage(id string) page {
	return page{status: http.StatusBadRequest, title: "Bad Request Body", sandboxID: id,
		reason: "request_body", message: "The body of the request broke off, or its chunks are malformed"}
}

func closedPortPage(rt route) page {
	return page{status: 502, title: "Closed Port Error",
		message:   "The sandbox is running but port is not open",
		sandboxID: rt.sandboxID, port: &rt.port, reason: "port_closed",
		detail: fmt.Sprintf("The sandbox is running, but there is no service running on port %d.", rt.port)}
}

// noAnswerPage is for an open port whose service closed the connection or sent something
// other than HTTP.
func noAnswerPage(rt route, tls bool) page {
	p := page{status: 502, title: "No HTTP Answer", sandboxID: rt.sandboxID, port: &rt.port,
		reason:  "connection_lost",
		message: "The sandbox is running, but the service on the port closed the connection without an HTTP answer"}
	switch {
	case rt.port == shoal.EnvdPort:
	case tls:
		p.message += "; the port is named in network.httpsPorts, so the service has to speak TLS"
	default:
		p.message += "; if it speaks TLS, name the port in network.httpsPorts"
	}
	return p
}

func internalRoutePage(path string) page {
	return page{status: 404, title: "Endpoint Not Available", path: path, reason: "internal_route",
		message: "This endpoint is reserved for the E2B control plane"}
}

func missingTokenPage(id string) page {
	return page{status: 403, title: "Missing Traffic Access Token", sandboxID: id,
		reason:  "traffic_token_missing",
		message: "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing"}
}

func invalidTokenPage(id string) page {
	return page{status: 403, title: "Invalid Traffic Access Token", sandboxID: id,
		reason:  "traffic_token_invalid",
		message: "Sandbox is secured with traffic access token. Provided token in header 'e2b-traffic-access-token' is invalid"}
}

// pausedPage differs from notFoundPage only in the details (runtime.md §1.7).
func pausedPage(id string) page {
	p := notFoundPage(id, "paused")
	p.detail = "It is paused, and not set to be resumed by traffic; connect to it to resume it."
	return p
}

// noSignedURLsPage is for a signed URL of a team that may not use any.
func noSignedURLsPage(id string) page {
	kind := shoal.ErrSwitchedOff
	return page{status: kind.Status, title: "Signed URLs Are Switched Off", sandboxID: id, reason: kind.Code,
		message: fmt.Sprintf("The feature is switched off: %s", shoal.SwitchSignedURLs), detail: kind.Fix}
}

// errorPage returns the page for a resolver's error.
func errorPage(id string, err error) page {
	known := shoal.AsError(err)
	p := page{status: known.Status, sandboxID: id, message: known.Message, reason: known.Code,
		detail: known.Fix}
	switch known.Kind {
	case shoal.ErrSandboxNotFound:
		return notFoundPage(id, known.Code)
	case shoal.ErrSandboxNotRunning:
		return pausedPage(id)
	case shoal.ErrForbidden:
		p.title = "Unable to Resume Sandbox"
	case shoal.ErrSandboxState:
		p.title = "Sandbox Still Transitioning"
	case shoal.ErrConcurrencyLimit:
		p.title = "Sandbox Limit Reached"
	case shoal.ErrLookupLimit:
		p.title = "Too Many Requests"
	default:
		p.title, p.status = "Sandbox Unreachable", http.StatusBadGateway
	}
	return p
}

var htmlPage = template.Must(template.New("page").Parse(`<html lang="en">
<head><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.5rem}code{background:#eef1f4;padding:.1em .3em;border-radius:3px}p.id{color:#5b6875}</style></head>
<body><h1>{{.Title}}</h1><p>{{.Text}}</p>
{{if .ID}}<p class="id">Sandbox <code>{{.ID}}</code>{{if .Port}}, port <code>{{.Port}}</code>{{end}}</p>{{end}}
</body></html>`))

func (p page) write(w http.ResponseWriter, r *http.Request) {
	endsBy(r, p.reason)
	bodyEndsSoon(w)
	w.Header().Set("Cache-Control", "no-store")
	if wantsHTML(r) {
		text := p.detail
		if text == "" {
			text = p.message
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(p.status)
		// Best effort: the client may have gone.
		_ = htmlPage.Execute(w, map[string]any{"Title": p.title, "Text": text, "ID": p.sandboxID,
			"Port": p.port})
		return
	}
	body := map[string]any{"message": p.message, "code": p.status, "reason": p.reason}
	if p.sandboxID != "" {
		body["sandboxId"] = p.sandboxID
	}
	if p.port != nil {
		body["port"] = p.port
	}
	if p.limit != 0 {
		body["connectionLimit"] = p.limit
	}
	if p.path != "" {
		body["path"] = p.path
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(body)
}

var browserAgent = regexp.MustCompile(`(?i)mozilla|chrome|safari|firefox|edge|opera|msie`)

// wantsHTML distinguishes a person's browser from a program, including a script in a
// browser (runtime.md §1.7).
func wantsHTML(r *http.Request) bool {
	if !browserAgent.MatchString(r.UserAgent()) {
		return false
	}
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
		return false
	}
	mode := r.Header.Get("Sec-Fetch-Mode")
	switch mode {
	case "cors", "no-cors", "same-origin", "websocket":
		return false
	}
	return r.Header.Get("X-Requested-With") == "" || mode == "navigate"
}
