package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// orderMax is how many bytes an order may have.
const orderMax = 64 << 10

// routes registers every path, and writes down the OpenAPI document of them.
func (s *Server) routes() error {
	config := huma.DefaultConfig("pinfi node", s.cfg.Version)
	// The document is served below, its viewers would come from elsewhere, and the
	// hooks add a field $schema to every answer.
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.Transformers = []huma.Transformer{ownProblems}
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "what " + TokenFile + " in the node's data folder holds"},
	}
	config.Security = []map[string][]string{{"token": {}}}
	api := humago.New(s.mux, config)
	s.register(api)
	s.describe(api.OpenAPI())
	doc, err := json.Marshal(api.OpenAPI())
	if err != nil {
		return fmt.Errorf("openapi document: %w", err)
	}
	s.openapi = doc
	return nil
}

// register adds the paths that take and give JSON.
func (s *Server) register(api huma.API) {
	get := func(id, path, summary string) huma.Operation {
		return operation(api, huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary})
	}
	huma.Register(api, get("status", "/v1/status", "How the node stands"), s.status)
	huma.Register(api, get("ledger", "/v1/ledger", "Root, supply and one account"), s.ledger)
	huma.Register(api, get("history", "/v1/ledger/history", "Applied operations, the newest first"), s.history)
	huma.Register(api, get("proof", "/v1/ledger/proof", "Proof of what a lane holds"), s.prove)
	huma.Register(api, get("payments", "/v1/payments/{id}", "How an order to pay stands"), s.payments)
	huma.Register(api, operation(api, huma.Operation{
		OperationID: "pay", Method: http.MethodPost, Path: "/v1/payments", Summary: "Pay other accounts",
		MaxBodyBytes: payMax, BodyReadTimeout: moveTimeout,
	}), s.pay)
	huma.Register(api, get("devices", "/v1/devices", "All devices with their prices"), s.devices)
	huma.Register(api, get("jobs", "/v1/jobs", "The node's jobs"), s.jobs)
	huma.Register(api, get("job", "/v1/jobs/{id}", "How a job stands"), s.job)
	huma.Register(api, get("output", "/v1/outputs/{digest}", "The files of an output"), s.output)
	huma.Register(api, operation(api, huma.Operation{
		OperationID: "order", Method: http.MethodPost, Path: "/v1/jobs", Summary: "Order a job",
		MaxBodyBytes: orderMax, BodyReadTimeout: headerTimeout,
	}), s.order)
	huma.Register(api, operation(api, huma.Operation{
		OperationID: "stop", Method: http.MethodPost, Path: "/v1/stop", Summary: "Ask the node's process to end",
		DefaultStatus: http.StatusAccepted,
	}), s.stop)
}

// operation adds to an operation that its errors are Problems.
func operation(api huma.API, op huma.Operation) huma.Operation {
	ok := max(op.DefaultStatus, http.StatusOK)
	op.Responses = map[string]*huma.Response{
		strconv.Itoa(ok): {Description: http.StatusText(ok)}, "default": problemResponse(api.OpenAPI()),
	}
	return op
}

func (s *Server) stop(context.Context, *struct{}) (*reply[Stopping], error) {
	s.cfg.Log.Info("stop asked for over the api")
	s.cfg.Stop()
	return &reply[Stopping]{Stopping{Stopping: true}}, nil
}

// describe adds the paths that move bytes, and their part of the document.
func (s *Server) describe(doc *huma.OpenAPI) {
	delete(doc.Components.Schemas.Map(), "ErrorModel") // huma's own; ownProblems replaces every one
	text := &huma.Schema{Type: huma.TypeString}
	raw := content("application/octet-stream", &huma.Schema{Type: huma.TypeString, Format: "binary"})
	s.add(doc, &huma.Operation{
		OperationID: "putBlob", Method: http.MethodPut, Path: "/v1/blobs", Summary: "Put a file",
		RequestBody: &huma.RequestBody{Required: true, Content: raw},
		Responses: map[string]*huma.Response{
			"201": {Description: "Created", Content: content("application/json", schemaOf[Blob](doc))},
		},
	}, s.putBlob)
	s.add(doc, &huma.Operation{
		OperationID: "getBlob", Method: http.MethodGet, Path: "/v1/blobs/{digest}", Summary: "Get a file",
		Parameters: []*huma.Param{{Name: "digest", In: "path", Required: true, Schema: text}},
		Responses:  map[string]*huma.Response{"200": {Description: "The bytes", Content: raw}},
	}, s.getBlob)
	s.add(doc, &huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: "/v1/events", Summary: "Stream what the node notes",
		Description: "Events of type note hold an Event; one of type end holds a Problem, and is the last.",
		Parameters:  []*huma.Param{{Name: "job", In: "query", Schema: text, Description: "only the events of one job"}},
		Responses: map[string]*huma.Response{
			"200": {Description: "Events", Content: content("text/event-stream", schemaOf[Event](doc))},
		},
	}, s.watch)
	s.add(doc, &huma.Operation{
		OperationID: "openapi", Method: http.MethodGet, Path: "/v1/openapi.json", Summary: "This document",
		Responses: map[string]*huma.Response{"200": {Description: "OpenAPI 3.1"}},
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(s.openapi) // who does not listen is not told
	})
}

// add registers a path that huma knows nothing of.
func (s *Server) add(doc *huma.OpenAPI, op *huma.Operation, serve http.HandlerFunc) {
	s.mux.HandleFunc(op.Method+" "+op.Path, serve)
	op.Responses["default"] = problemResponse(doc)
	doc.AddOperation(op)
}

// problemResponse describes every answer that is a Problem.
func problemResponse(doc *huma.OpenAPI) *huma.Response {
	return &huma.Response{
		Description: "Problem", Content: content(problemType, schemaOf[Problem](doc)),
	}
}

func content(media string, s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{media: {Schema: s}}
}

func schemaOf[T any](doc *huma.OpenAPI) *huma.Schema {
	return doc.Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}
