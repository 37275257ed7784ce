package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pinfi/pinfi/node/api"
)

// [API-1] Every request carries the token of the node's data folder; without it,
// or with another, the answer is 401 and nothing is done.
func TestToken(t *testing.T) {
	stopped := false
	r := serve(t, api.Config{Stop: func() { stopped = true }})
	for name, header := range map[string]string{
		"none": "", "other": "Bearer " + strings.Repeat("0", 64), "short": "Bearer " + string(token[:63]),
		"longer": "Bearer " + string(token) + "0", "scheme": "Basic " + string(token), "bare": string(token),
	} {
		for _, path := range []string{"/v1/status", "/v1/openapi.json", "/v1/stop", "/elsewhere"} {
			method := http.MethodGet
			if path == "/v1/stop" {
				method = http.MethodPost
			}
			res, body := r.raw(method, path, "", map[string]string{"Authorization": header})
			if res.StatusCode != 401 || !strings.Contains(body, `"code":"unauthorized"`) {
				t.Errorf("token %s on %s: %s %s, want 401", name, path, res.Status, body)
			}
			if strings.Contains(body, string(token)) {
				t.Errorf("token %s on %s: the answer tells the token", name, path)
			}
		}
	}
	if stopped {
		t.Error("a request without the token stopped the node")
	}
	if err := r.Stop(t.Context()); err != nil || !stopped {
		t.Errorf("stop with the token: %v, %v", err, stopped)
	}
	stranger, err := api.Dial(r.cfg.Socket, api.Token(strings.Repeat("0", 64)))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	_, err = stranger.Status(t.Context())
	wantProblem(t, err, api.CodeUnauthorized, "Authorization: Bearer")
}

// [API-2] A request is answered only when its Host is localhost or an address of the
// loopback, and only when its Origin, if it has one, is that host.
func TestForeign(t *testing.T) {
	r := serve(t, api.Config{})
	for _, c := range []struct {
		header map[string]string
		ok     bool
	}{
		{map[string]string{"Host": "localhost"}, true},
		{map[string]string{"Host": "localhost:4748"}, true},
		{map[string]string{"Host": "127.0.0.1:4748"}, true},
		{map[string]string{"Host": "[::1]:4748"}, true},
		{map[string]string{"Host": "[::1]"}, true},
		{map[string]string{"Host": "pinfi.example"}, false},
		{map[string]string{"Host": "localhost.example:80"}, false},
		{map[string]string{"Host": "192.0.2.1:4748"}, false},
		{map[string]string{"Host": "0.0.0.0:4748"}, false},
		{map[string]string{"Host": "localhost:1", "Origin": "http://localhost:1"}, true},
		{map[string]string{"Host": "localhost:1", "Origin": "http://localhost:2"}, false},
		{map[string]string{"Host": "localhost:1", "Origin": "https://localhost:1"}, false},
		{map[string]string{"Host": "localhost:1", "Origin": "null"}, false},
		{map[string]string{"Origin": "http://pinfi.example"}, false},
		{map[string]string{"Sec-Fetch-Site": "cross-site"}, false},
		{map[string]string{"Sec-Fetch-Site": "same-site"}, false},
		{map[string]string{"Sec-Fetch-Site": "same-origin"}, true},
	} {
		res, body := r.raw("GET", "/v1/openapi.json", "", c.header)
		if ok := res.StatusCode == 200; ok != c.ok {
			t.Errorf("%v: %s, want answered %v", c.header, res.Status, c.ok)
		}
		if !c.ok && !strings.Contains(body, `"code":"foreign"`) {
			t.Errorf("%v: %s, want code foreign", c.header, body)
		}
	}
}

// [API-3] Every error is a problem document (RFC 9457) with a stable code, and says
// what is wrong, where, and what would be right.
func TestProblems(t *testing.T) {
	r := serve(t, api.Config{})
	unknown := strings.Repeat("ab", 32)
	order := `{"units":1,"seconds":1,"max":"1","module":"` + unknown + `"`
	for _, c := range []struct {
		method, path, body string
		status             int
		code               api.Code
		words              string
	}{
		{"GET", "/v1/nothing", "", 404, api.CodeNotFound, "/v1/openapi.json"},
		{"GET", "/docs", "", 404, api.CodeNotFound, "/docs"},
		{"DELETE", "/v1/status", "", 405, api.CodeMethod, "GET, HEAD"},
		{"GET", "/v1/jobs/xyz", "", 422, api.CodeInvalid, "path.id"},
		{"GET", "/v1/ledger?account=1", "", 422, api.CodeInvalid, "query.account"},
		{"GET", "/v1/ledger?acount=1", "", 422, api.CodeInvalid, "acount"},
		{"GET", "/v1/blobs/" + unknown, "", 404, api.CodeUnknownBlob, unknown},
		{"GET", "/v1/blobs/short", "", 422, api.CodeInvalid, "64 hexadecimal digits"},
		{"GET", "/v1/outputs/" + unknown, "", 404, api.CodeUnknownBlob, unknown},
		{"GET", "/v1/events?job=1", "", 422, api.CodeInvalid, "64 hexadecimal digits"},
		{"POST", "/v1/jobs", "", 400, api.CodeBadRequest, "body is required"},
		{"POST", "/v1/jobs", "{", 400, api.CodeBadRequest, "unexpected end"},
		{"POST", "/v1/jobs", "{}", 422, api.CodeInvalid, "units"},
		{"POST", "/v1/jobs", order + `,"max":1}`, 422, api.CodeInvalid, "body.max"},
		{"POST", "/v1/jobs", order + `,"max":"1.5"}`, 422, api.CodeInvalid, "body.max"},
		{"POST", "/v1/jobs", order + `,"units":0}`, 422, api.CodeInvalid, "body.units"},
		{"POST", "/v1/jobs", order + `,"units":-1}`, 422, api.CodeInvalid, "body.units"},
		{"POST", "/v1/jobs", order + `,"seconds":4294967296}`, 422, api.CodeInvalid, "seconds"},
		{"POST", "/v1/jobs", order + `,"max":"99999999999999999999"}`, 422, api.CodeInvalid, "amount"},
		{"POST", "/v1/jobs", order + `,"colour":1}`, 422, api.CodeInvalid, "body.colour"},
		{"POST", "/v1/jobs", order + `,"module":"ab"}`, 422, api.CodeInvalid, "body.module"},
	} {
		res, body := r.raw(c.method, c.path, c.body, nil)
		var p api.ProblemError
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Errorf("%s %s: %s %q: %v", c.method, c.path, res.Status, body, err)
			continue
		}
		if res.StatusCode != c.status || p.Status != c.status || p.Code != c.code ||
			!strings.Contains(p.Error(), c.words) {
			t.Errorf("%s %s %s: %s %s, want %d %s with %q",
				c.method, c.path, c.body, res.Status, body, c.status, c.code, c.words)
		}
		if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
			t.Errorf("%s %s: content type %q", c.method, c.path, ct)
		}
	}
}

// [API-4] The OpenAPI document names every path, and no answer has a field $schema.
func TestDocument(t *testing.T) {
	r := serve(t, api.Config{})
	res, body := r.raw("GET", "/v1/openapi.json", "", nil)
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %v", res.Status, err)
	}
	var got []string
	for path, methods := range doc.Paths {
		for m := range methods {
			got = append(got, m+" "+path)
		}
	}
	slices.Sort(got)
	want := []string{
		"get /v1/blobs/{digest}", "get /v1/devices", "get /v1/events", "get /v1/jobs", "get /v1/jobs/{id}",
		"get /v1/ledger", "get /v1/ledger/history", "get /v1/ledger/proof", "get /v1/openapi.json",
		"get /v1/outputs/{digest}", "get /v1/payments/{id}", "get /v1/status", "post /v1/jobs",
		"post /v1/payments", "post /v1/stop", "put /v1/blobs",
	}
	if !slices.Equal(got, want) {
		t.Errorf("paths %v, want %v", got, want)
	}
	if strings.Contains(body, "$schema") || strings.Contains(body, "ErrorModel") ||
		!strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("document %s has $schema or ErrorModel", doc.OpenAPI)
	}
	for _, name := range []string{"Problem", "Status", "Job", "Order", "Event", "Blob", "Lease"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("schema %s is missing", name)
		}
	}
	if _, body := r.raw("POST", "/v1/stop", "", nil); strings.TrimSpace(body) != `{"stopping":true}` {
		t.Errorf("stop answers %s", body)
	}
}
