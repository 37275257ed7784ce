package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// A Code names a kind of problem. Codes never change their meaning; new ones may
// come. docs/spec/api.md lists them.
type Code string

// The codes, with the HTTP status they come with.
const (
	CodeBadRequest   Code = "bad_request"          // 400: the request cannot be read
	CodeUnauthorized Code = "unauthorized"         // 401: no token, or a wrong one
	CodeForeign      Code = "foreign"              // 403: the Host or Origin is not this machine
	CodeNotFound     Code = "not_found"            // 404: no such path
	CodeUnknownJob   Code = "unknown_job"          // 404
	CodeUnknownBlob  Code = "unknown_blob"         // 404; 422 in an order
	CodeMethod       Code = "method_not_allowed"   // 405
	CodeIDTaken      Code = "id_taken"             // 409: another order has the id
	CodeTooLarge     Code = "too_large"            // 413
	CodeInvalid      Code = "invalid"              // 422: a field has a value that it cannot have
	CodeBadJob       Code = "bad_job"              // 422: the order cannot be met on this network
	CodeBadPayment   Code = "bad_payment"          // 422: the payments cannot be made
	CodeUnknownPay   Code = "unknown_payment"      // 404: no order to pay of the id
	CodeNotManifest  Code = "not_a_manifest"       // 422: the file is not the manifest of an output
	CodeInternal     Code = "internal"             // 500
	CodeUnreadable   Code = "unreadable_blob"      // 500: the file is corrupt, or its disk is
	CodeUnavailable  Code = "unavailable"          // 503: the node does not answer, or is stopping
	CodeNotTaken     Code = "not_taken"            // 503: the node has too many jobs
	CodeTooMany      Code = "too_many_subscribers" // 503
	CodeSlow         Code = "slow_subscriber"      // ends a stream of events
	CodeStopping     Code = "stopping"             // ends a stream of events
)

// A Problem is what the API answers instead of what was asked for, as RFC 9457
// wants it, with a stable code.
type Problem struct {
	Title  string `json:"title" doc:"text of the status"`
	Status int    `json:"status" doc:"HTTP status"`
	Code   Code   `json:"code" doc:"stable name of the kind of problem"`
	Detail string `json:"detail" doc:"what went wrong, where, and what would be right"`
	Errors []Flaw `json:"errors,omitempty" doc:"each field that is wrong"`
}

// A Flaw is one field that is wrong.
type Flaw struct {
	Location string `json:"location,omitempty" doc:"body.units, say"`
	Message  string `json:"message"`
}

// A ProblemError is a Problem as an error, on both sides.
type ProblemError struct{ Problem }

// Error returns the detail, then the flaws.
func (p *ProblemError) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	for i, f := range p.Errors {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		if f.Location != "" {
			b.WriteString(f.Location + ": ")
		}
		b.WriteString(f.Message)
	}
	return b.String()
}

// GetStatus returns the HTTP status. It makes a ProblemError an error of huma's.
func (p *ProblemError) GetStatus() int { return p.Status }

// ContentType returns the media type of problems.
func (*ProblemError) ContentType(string) string { return problemType }

// problemType is the media type of problems.
const problemType = "application/problem+json"

// problem returns a Problem as an error.
func problem(status int, code Code, format string, args ...any) *ProblemError {
	return &ProblemError{Problem{
		Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...),
	}}
}

// write sends the problem as the answer to a request.
func (p *ProblemError) write(w http.ResponseWriter) {
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", problemType)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who does not listen is not told
}

// ownProblems turns what huma has to say about a request into a Problem.
func ownProblems(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code := CodeBadRequest
	switch m.Status {
	case http.StatusUnprocessableEntity:
		code = CodeInvalid
	case http.StatusRequestEntityTooLarge:
		code = CodeTooLarge
	case http.StatusInternalServerError:
		code = CodeInternal
	}
	p := problem(m.Status, code, "%s", m.Detail)
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, Flaw{Location: e.Location, Message: e.Message})
	}
	return p, nil
}
