package server

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wend/access"
	"wend/internal/trust"
	"wend/storage/vfs"
)

// callers says who may call what, by hand, from the contract: a route that is
// not here does not pass, and neither does one whose table says otherwise.
var callers = map[string]string{
	"POST /v1/query":          "query",
	"GET /v1/query":           "query",
	"DELETE /v1/queries/{id}": "query admin",
	"POST /v1/check":          "query",
	"POST /v1/complete":       "query",
	"POST /v1/events":         "ingest",
	"POST /v1/sync":           "ingest",
	"POST /v1/backup":         "admin",
	"POST /v1/links":          "ingest",
	"GET /v1/links":           "query",
	"DELETE /v1/links/{from}": "ingest",
	"GET /v1/export":          "export",
	"POST /v1/erase":          "erase",
	"GET /v1/erase/{id}":      "erase",
	"GET /v1/schema":          "query ingest",
	"GET /v1/status":          "query admin",
	"GET /metrics":            "metrics admin",
	"GET /v1/openapi.json":    "anyone",
	"GET /healthz":            "anyone",
	"GET /readyz":             "anyone",
}

// tokens is a folder of tokens, one of each kind that a test may need.
type tokens struct {
	keeper                    *access.Keeper
	byScope                   map[access.Scope]access.Token
	expired, revoked, unknown access.Token
	all                       access.Token
}

// withTokens makes them; expired and revoked ones have every scope.
func withTokens(t *testing.T) *tokens {
	t.Helper()
	fsys, now := vfs.NewMem(), time.Now()
	create := func(expires time.Time, scopes ...access.Scope) (access.Token, string) {
		token, e, err := access.Create(fsys, "shop", "", scopes, now, expires)
		if err != nil {
			t.Fatal(err)
		}
		return token, e.ID
	}
	x := &tokens{byScope: map[access.Scope]access.Token{}, unknown: access.NewToken()}
	for _, s := range access.Scopes {
		x.byScope[s], _ = create(time.Time{}, s)
	}
	x.all, _ = create(time.Time{}, access.Scopes...)
	x.expired, _ = create(now.Add(-time.Second), access.Scopes...)
	var id string
	x.revoked, id = create(time.Time{}, access.Scopes...)
	if err := access.Revoke(fsys, "shop", id, now); err != nil {
		t.Fatal(err)
	}
	var err error
	if x.keeper, err = access.Keep(fsys, "shop", "", nil); err != nil {
		t.Fatal(err)
	}
	return x
}

// Every route is called with every scope, and with everything that is no
// token; each call is let through or refused as the list of callers says.
func TestWhoMayCallWhat(t *testing.T) {
	x := withTokens(t)
	s := open(t, Options{Access: x.keeper})
	combinations, wrong := 0, 0
	call := func(rt route, who, authorization string) reply {
		combinations++
		path := strings.NewReplacer("{id}", "none", "{from}", "nobody").Replace(rt.path)
		if authorization == "" {
			return s.do(rt.method, path, "{}")
		}
		return s.do(rt.method, path, "{}", "Authorization", authorization)
	}
	fail := func(rt route, who string, r reply) {
		wrong++
		t.Errorf("%s as %s: %s %s", rt.name(), who, r.Status, r.body)
	}
	for _, rt := range routes {
		listed := strings.Fields(callers[rt.name()])
		if len(listed) == 0 {
			wrong++
			t.Errorf("%s is in no list: say in callers who may call it", rt.name())
			continue
		}
		var refusals []string
		for who, authorization := range map[string]string{
			"nobody": "", "an unknown token": "Bearer " + x.unknown.Reveal(), "an expired token": "Bearer " + x.expired.Reveal(),
			"a revoked token": "Bearer " + x.revoked.Reveal(), "no token at all": "Bearer nonsense", "another scheme": "Basic " + x.byScope[access.Query].Reveal(),
			"a token cut short": "Bearer " + x.byScope[access.Admin].Reveal()[:47], "a token and more": "Bearer " + x.byScope[access.Admin].Reveal() + "A",
		} {
			r := call(rt, who, authorization)
			if r.StatusCode == http.StatusUnauthorized == (listed[0] == "anyone") {
				fail(rt, who, r)
			}
			if r.StatusCode == http.StatusUnauthorized {
				refusals = append(refusals, fmt.Sprint(r.body, r.Header["Www-Authenticate"], r.Header["Content-Type"]))
			}
		}
		if slices.Sort(refusals); len(slices.Compact(refusals)) > 1 {
			wrong++
			t.Errorf("%s tells refused tokens apart: %q", rt.name(), refusals)
		}
		for _, scope := range access.Scopes {
			r := call(rt, string(scope), "Bearer "+x.byScope[scope].Reveal())
			allowed := listed[0] == "anyone" || slices.Contains(listed, string(scope))
			if r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden == allowed {
				fail(rt, string(scope), r)
			}
			if !allowed && !strings.Contains(r.body, `"missing_scope"`) || !allowed && !strings.Contains(r.body, "scope "+listed[0]) {
				fail(rt, string(scope)+", whose refusal does not name the scope", r)
			}
		}
	}
	for name := range callers {
		if !slices.ContainsFunc(routes, func(rt route) bool { return rt.name() == name }) {
			t.Errorf("%s is listed and not served", name)
		}
	}
	trust.Report(t, "S3", "routes", len(routes), "combinations", combinations, "wrong", wrong)
}

// What needs no token tells nothing of the store, whoever asks.
func TestOpenRoutesShowNothing(t *testing.T) {
	x := withTokens(t)
	s := openWith(t, 4, Options{Access: x.keeper})
	shows := map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/v1/openapi.json": string(openAPIDocument)}
	open := 0
	for _, rt := range routes {
		if !slices.Contains(rt.scopes, anyone) {
			continue
		}
		open++
		for _, authorization := range []string{"", "Bearer " + x.all.Reveal()} {
			if r := s.do(rt.method, rt.path, "", "Authorization", authorization); r.body != shows[rt.path] {
				t.Errorf("%s answers %.200s", rt.name(), r.body)
			}
		}
	}
	trust.Report(t, "S12", "open", open, "of", len(routes), "shown", 0)
}

// No route is served but those of the table: nothing else is given to a mux.
func TestRoutesAreServedByTheTableAlone(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var given []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && (s.Sel.Name == "Handle" || s.Sel.Name == "HandleFunc") {
				given = append(given, s.Sel.Name)
			}
			return true
		})
	}
	if slices.Sort(given); !slices.Equal(given, []string{"Handle", "HandleFunc"}) {
		t.Errorf("a mux is given %v; one for the table and one for what is not there are enough", given)
	}
}

func TestTokensOnOtherWays(t *testing.T) {
	x := withTokens(t)
	s := openWith(t, 2, Options{Access: x.keeper})
	key := x.byScope[access.Query].Reveal()
	for _, path := range []string{"/v1/schema?access_token=x", "/v1/schema?token=" + key, "/v1/query?q=show+events&TOKEN=1", "/v1/query?q=" + key, "/v1/links/" + key, "/" + key} {
		r := s.do("GET", path, "", "Authorization", "Bearer "+key)
		if r.refused(t, 400, "token_in_url"); strings.Contains(r.body, key) {
			t.Errorf("%s is repeated: %s", path, r.body)
		}
	}
	req, err := http.NewRequest("GET", s.URL+"/v1/schema", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Authorization"] = []string{"Bearer " + key, "Bearer " + key}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 401 {
		t.Errorf("two tokens at once: %s", res.Status)
	}
	if r := s.do("GET", "/v1/schema", "", "Authorization", "bearer  "+key); r.StatusCode != 200 {
		t.Errorf("a scheme in small letters: %s", r.Status)
	}
}

// A statement that changes the store needs more than a scope to ask.
func TestDefinitionsNeedAdmin(t *testing.T) {
	x := withTokens(t)
	s := openWith(t, 2, Options{Access: x.keeper})
	define := func(token access.Token) reply {
		return s.do("POST", "/v1/query", "define stage a as view", "Content-Type", "text/plain", "Authorization", "Bearer "+token.Reveal())
	}
	if e := define(x.byScope[access.Query]).refused(t, 403, "missing_scope"); !strings.Contains(e.Message, "admin") {
		t.Errorf("the refusal %q does not name the scope", e.Message)
	}
	define(x.byScope[access.Admin]).refused(t, 403, "missing_scope")
	if r := define(x.all); r.StatusCode != 200 {
		t.Errorf("with every scope: %s %s", r.Status, r.body)
	}
}

func TestQueriesOfOthersAreNotEnded(t *testing.T) {
	q := newRunningQueries()
	ended := 0
	f := func(by access.Grant, want bool) {
		t.Helper()
		q.add("report", "alice", nil, func(error) { ended++ })
		if q.end("report", by) != want {
			t.Errorf("%+v: %v", by, !want)
		}
		q.remove("report")
	}
	f(access.Grant{ID: "bob", Scopes: []access.Scope{access.Query}}, false)
	f(access.Grant{ID: "alice", Scopes: []access.Scope{access.Query}}, true)
	f(access.Grant{ID: "bob", Scopes: []access.Scope{access.Admin}}, true)
	if ended != 2 {
		t.Errorf("%d were ended", ended)
	}
}
