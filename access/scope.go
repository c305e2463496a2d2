package access

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is one thing that a token may do. None includes another.
type Scope string

// The scopes.
const (
	Ingest  Scope = "ingest"  // send events and links
	Query   Scope = "query"   // ask, complete, see the schema and the status
	Export  Scope = "export"  // read every event as it is stored
	Erase   Scope = "erase"   // erase customers
	Admin   Scope = "admin"   // change definitions, end others' queries, back up, see the status and the metrics
	Metrics Scope = "metrics" // see the metrics
)

// Scopes lists all of them.
var Scopes = []Scope{Ingest, Query, Export, Erase, Admin, Metrics}

// ParseScopes reads a list such as query,ingest.
func ParseScopes(list string) ([]Scope, error) {
	var scopes []Scope
	for name := range strings.SplitSeq(list, ",") {
		s := Scope(strings.TrimSpace(name))
		if !slices.Contains(Scopes, s) {
			return nil, fmt.Errorf("there is no scope %q; scopes are %s", name, JoinScopes(Scopes, ", "))
		}
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

// JoinScopes writes scopes in one text.
func JoinScopes(scopes []Scope, between string) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, between)
}
