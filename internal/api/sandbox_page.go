package api

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// sandboxPage is the answer of a list. It is written row by row: with much metadata, all of
// it at once would take hundreds of megabytes for each request.
type sandboxPage struct {
	server  *Server
	rows    []shoal.Sandbox
	running *int   // of all pages; nil if it was not asked for
	next    string // token of the next page; "" if there is none
}

var (
	_ gen.ListSandboxesResponseObject   = sandboxPage{}
	_ gen.ListSandboxesV2ResponseObject = sandboxPage{}
)

// VisitListSandboxesResponse writes the page.
func (p sandboxPage) VisitListSandboxesResponse(w http.ResponseWriter) error { return p.write(w) }

// VisitListSandboxesV2Response writes the page.
func (p sandboxPage) VisitListSandboxesV2Response(w http.ResponseWriter) error { return p.write(w) }

// write returns no errors: once the status is sent, only the caller can be gone.
func (p sandboxPage) write(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if p.next != "" {
		h.Set("X-Next-Token", p.next)
	}
	if p.running != nil {
		h.Set("X-Total-Running", strconv.Itoa(*p.running))
	}
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriter(w)
	_ = out.WriteByte('[') // a write that failed shows in the last one
	for i, sb := range p.rows {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		row, _ := json.Marshal(p.server.wireListed(sb)) // always encodes
		_, _ = out.Write(row)
	}
	_, _ = out.WriteString("]\n")
	_ = out.Flush()
	return nil
}
