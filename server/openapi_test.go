package server

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"wend/access"
	"wend/event"
	"wend/storage"
)

// document is openapi.json, as far as the tests look at it.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct {
		Schemas   map[string]any
		Responses map[string]response

		SecuritySchemes map[string]struct{ Type, Scheme string }
	}
}

type operation struct {
	OperationID string
	Security    []map[string][]access.Scope
	RequestBody struct {
		Content map[string]struct{ Schema any }
	}
	Responses map[string]response
}

type response struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema any }
}

func readDocument(t *testing.T) *document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openAPIDocument, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

func TestDocumentListsTheRoutes(t *testing.T) {
	d := readDocument(t)
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("openapi %q", d.OpenAPI)
	}
	served, described, ids := map[string]bool{}, map[string]bool{}, map[string]bool{}
	scopes := map[string][]access.Scope{}
	for _, r := range routes {
		served[r.name()] = true
		scopes[r.name()] = r.scopes
	}
	if scheme := d.Components.SecuritySchemes["token"]; scheme.Type != "http" || scheme.Scheme != "bearer" {
		t.Errorf("the security scheme is %+v", scheme)
	}
	for path, operations := range d.Paths {
		for method, op := range operations {
			name := strings.ToUpper(method) + " " + path
			described[name] = true
			if !served[name] {
				t.Errorf("%s is described and not served", name)
			}
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s has no id of its own: %q", name, op.OperationID)
			}
			ids[op.OperationID] = true
			wanted := []access.Scope{}
			for _, one := range op.Security {
				wanted = append(wanted, one["token"]...)
			}
			if len(wanted) == 0 && op.Security != nil {
				wanted = []access.Scope{anyone}
			}
			if served[name] && !slices.Equal(wanted, scopes[name]) {
				t.Errorf("%s is described for %v and served for %v", name, wanted, scopes[name])
			}
			if op.Responses["default"].Ref != "#/components/responses/Error" {
				t.Errorf("%s does not say how it fails", name)
			}
		}
	}
	for name := range served {
		if !described[name] {
			t.Errorf("%s is served and not described", name)
		}
	}
}

// matches says where a value departs from a schema, "" if nowhere. Members
// that a schema of an object does not name are departures, too, so that no
// answer has parts that nobody wrote down.
func (d *document) matches(schema, value any, at string) string {
	s, ok := schema.(map[string]any)
	if !ok {
		return at + ": there is no schema"
	}
	if ref, ok := s["$ref"].(string); ok {
		return d.matches(d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")], value, at)
	}
	if choices, ok := s["oneOf"].([]any); ok {
		var why []string
		for _, c := range choices {
			if why = append(why, d.matches(c, value, at)); why[len(why)-1] == "" {
				return ""
			}
		}
		return strings.Join(why, " or ")
	}
	if list, ok := s["enum"].([]any); ok {
		if !slices.Contains(list, value) {
			return fmt.Sprintf("%s: %v is not one of %v", at, value, list)
		}
		return ""
	}
	types, several := s["type"].([]any)
	if !several {
		types = []any{s["type"]}
	}
	if !slices.ContainsFunc(types, func(name any) bool { return isOf(name, value) }) {
		return fmt.Sprintf("%s: %v is not of %v", at, value, types)
	}
	if text, ok := value.(string); ok && s["format"] == "date-time" {
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return at + ": " + err.Error()
		}
	}
	if list, ok := value.([]any); ok && s["items"] != nil {
		for i, v := range list {
			if why := d.matches(s["items"], v, fmt.Sprintf("%s[%d]", at, i)); why != "" {
				return why
			}
		}
	}
	if members, ok := value.(map[string]any); ok {
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := members[name.(string)]; !ok {
				return fmt.Sprintf("%s: %v is missing", at, name)
			}
		}
		properties, _ := s["properties"].(map[string]any)
		for name, v := range members {
			p, known := properties[name]
			if !known && s["additionalProperties"] != true {
				return fmt.Sprintf("%s: %s is not described", at, name)
			}
			if known {
				if why := d.matches(p, v, at+"."+name); why != "" {
					return why
				}
			}
		}
	}
	return ""
}

func isOf(name, value any) bool {
	switch v := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	}
	return name == "object"
}

// Every answer that is JSON is as the document says, and every route is tried.
func TestAnswersAreAsDescribed(t *testing.T) {
	d := readDocument(t)
	s := openWith(t, 10, Options{BackupDir: "backups"})
	tried := map[string]bool{}
	load, err := s.db.Store().NewLoad(t.Context(), storage.LoadOptions{Source: "more.csv"})
	if err != nil {
		t.Fatal(err)
	}
	more := event.NewBuilder()
	more.Add(event.Event{Customer: "x", Time: event.At(time.Now()), Name: "view"})
	if err := load.Add(more.Batch()); err != nil {
		t.Fatal(err)
	}
	if _, err := load.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := func(method, route, path, body string, header ...string) {
		t.Helper()
		tried[method+" "+route] = true
		op := d.Paths[route][strings.ToLower(method)]
		if req := op.RequestBody.Content["application/json"].Schema; req != nil && len(header) == 0 && !strings.Contains(body, "\n") {
			var sent any
			if err := json.Unmarshal([]byte(body), &sent); err != nil {
				t.Fatal(err)
			}
			if why := d.matches(req, sent, "request"); why != "" {
				t.Errorf("%s %s: %s", method, path, why)
			}
		}
		r := s.do(method, path, body, header...)
		described, ok := op.Responses[fmt.Sprint(r.StatusCode)]
		if !ok {
			described = d.Components.Responses["Error"]
		}
		if r.StatusCode >= 500 {
			t.Errorf("%s %s: %s %s", method, path, r.Status, r.body)
		}
		kind := before(r.Header.Get("Content-Type"), ";")
		content, ok := described.Content[kind]
		if !ok && r.body != "" {
			t.Errorf("%s %s answers %d as %q, which is not described", method, path, r.StatusCode, kind)
			return
		}
		if kind != "application/json" {
			return
		}
		var got any
		r.decode(t, &got)
		if why := d.matches(content.Schema, got, "answer"); why != "" {
			t.Errorf("%s %s: %s", method, path, why)
		}
	}
	f("POST", "/v1/query", "/v1/query", `{"query": "funnel view -> purchase within 1d by channel top 1", "params": {}, "lenient": false, "timeout_ms": 1000}`)
	f("POST", "/v1/query", "/v1/query", `{"query": "paths to purchase top 1 during since 2025-01-01"}`)
	f("POST", "/v1/query", "/v1/query", `{"query": "journey of 'c0002'"}`)
	f("POST", "/v1/query", "/v1/query", `{"query": "explain analyze funnel view -> purchase"}`)
	f("POST", "/v1/query", "/v1/query", `{"query": "show status"}`)
	f("POST", "/v1/query", "/v1/query", `{"query": "define segment late as customer.value = 1.5"}`)
	f("POST", "/v1/query", "/v1/query", `{"query": "funnel vew -> purchas"}`)
	f("POST", "/v1/query", "/v1/query", "show events", "Content-Type", "text/plain", "Accept", "text/csv")
	f("POST", "/v1/query", "/v1/query", "show events", "Content-Type", "text/plain", "Accept", "application/x-ndjson")
	f("GET", "/v1/query", "/v1/query?q=show+events", "")
	f("DELETE", "/v1/queries/{id}", "/v1/queries/none", "")
	f("POST", "/v1/check", "/v1/check", `{"query": "funnel view -> purchas; show evnts"}`)
	f("POST", "/v1/check", "/v1/check", `{"query": "journey of $c", "params": {"c": "a"}}`)
	f("POST", "/v1/complete", "/v1/complete", `{"query": "funnel vi", "position": 9}`)
	f("POST", "/v1/complete", "/v1/complete", `{"query": "funnel vi", "position": 10}`)
	f("POST", "/v1/events", "/v1/events", "{\"customer\": \"a\", \"time\": \"2025-03-01\", \"event\": \"view\", \"id\": \"1\"}\n{}")
	f("POST", "/v1/events", "/v1/events", "{\"customer\": \"a\", \"time\": \"2025-03-01\", \"event\": \"buy\", \"id\": \"1\"}\n")
	f("POST", "/v1/sync", "/v1/sync", `{"lsn": 1}`)
	f("POST", "/v1/backup", "/v1/backup", `{"name": "nightly"}`)
	f("POST", "/v1/links", "/v1/links", `{"from": "anon", "to": "c0001"}`)
	f("POST", "/v1/links", "/v1/links", `[{"from": "anon2", "to": "c0001"}]`)
	f("GET", "/v1/links", "/v1/links", "")
	f("DELETE", "/v1/links/{from}", "/v1/links/anon2", "")
	f("GET", "/v1/export", "/v1/export", "")
	f("GET", "/v1/export", "/v1/export", "", "Accept", "text/csv")
	f("POST", "/v1/erase", "/v1/erase", `{"customer": "c0003", "after": "suppress"}`)
	f("GET", "/v1/erase/{id}", "/v1/erase/none", "")
	f("GET", "/v1/schema", "/v1/schema", "")
	f("GET", "/v1/status", "/v1/status", "")
	f("GET", "/v1/openapi.json", "/v1/openapi.json", "")
	f("GET", "/healthz", "/healthz", "")
	f("GET", "/readyz", "/readyz", "")
	f("GET", "/metrics", "/metrics", "")
	for _, r := range routes {
		if !tried[r.method+" "+r.path] {
			t.Errorf("%s %s was not tried", r.method, r.path)
		}
	}
}
