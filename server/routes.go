package server

import (
	"net/http"
	"slices"

	"wend/access"
)

// route is one call that the server answers.
type route struct {
	method, path string
	scopes       []access.Scope // a caller needs one of them; a route without any does not serve
	handle       func(s *Server, w http.ResponseWriter, r *http.Request) error
}

// always reports whether the route serves also while the server stops: those
// who watch it, rather than those who use it.
func (rt route) always() bool {
	return slices.Contains(rt.scopes, anyone) || slices.Contains(rt.scopes, access.Metrics)
}

func (rt route) name() string { return rt.method + " " + rt.path }

// anyone is the scope of routes that need no token: they show nothing of the store.
const anyone access.Scope = "anyone"

func needs(any ...access.Scope) []access.Scope { return any }

// routes is the whole interface. One test holds openapi.json against it,
// another a list of who may call what that is written by hand.
var routes = []route{
	{"POST", "/v1/query", needs(access.Query), (*Server).postQuery},
	{"GET", "/v1/query", needs(access.Query), (*Server).getQuery},
	{"DELETE", "/v1/queries/{id}", needs(access.Query, access.Admin), (*Server).endQuery},
	{"POST", "/v1/check", needs(access.Query), (*Server).check},
	{"POST", "/v1/complete", needs(access.Query), (*Server).complete},
	{"POST", "/v1/events", needs(access.Ingest), (*Server).postEvents},
	{"POST", "/v1/sync", needs(access.Ingest), (*Server).sync},
	{"POST", "/v1/links", needs(access.Ingest), (*Server).postLink},
	{"GET", "/v1/links", needs(access.Query), (*Server).getLinks},
	{"DELETE", "/v1/links/{from}", needs(access.Ingest), (*Server).deleteLink},
	{"GET", "/v1/export", needs(access.Export), (*Server).export},
	{"POST", "/v1/erase", needs(access.Erase), (*Server).postErase},
	{"GET", "/v1/erase/{id}", needs(access.Erase), (*Server).getErase},
	{"GET", "/v1/schema", needs(access.Query, access.Ingest), (*Server).schema},
	{"POST", "/v1/backup", needs(access.Admin), (*Server).postBackup},
	{"GET", "/v1/status", needs(access.Query, access.Admin), (*Server).status},
	{"GET", "/v1/openapi.json", needs(anyone), (*Server).openAPI},
	{"GET", "/healthz", needs(anyone), (*Server).health},
	{"GET", "/readyz", needs(anyone), (*Server).readiness},
	{"GET", "/metrics", needs(access.Metrics, access.Admin), (*Server).exposition},
}
