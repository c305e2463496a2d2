package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

const funnel = "funnel view -> purchase within 1d"

func TestQueryAnswersInTheFormAskedFor(t *testing.T) {
	s := openWith(t, 10, Options{})
	f := func(accept, media, want string) {
		t.Helper()
		r := s.do("POST", "/v1/query", `{"query": "measure customers, events"}`, "Accept", accept)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != media || !strings.HasPrefix(r.body, want) {
			t.Errorf("Accept %q: %s %s %q", accept, r.Status, r.Header.Get("Content-Type"), r.body)
		}
	}
	f("application/json", "application/json", `{"columns": [{"name": "customers", "type": "integer"}`)
	f("text/csv", "text/csv", "customers,events\n10,15\n")
	f("application/x-ndjson", "application/x-ndjson", `{"customers": 10, "events": 15}`)
	f("*/*", "application/json", `{"columns"`)
	f("image/png, text/*;q=0.5", "text/csv", "customers,events")
	f("text/csv;q=0.9, application/json;q=0.1", "text/csv", "customers,events")
	f("text/csv;q=0.1, application/json;q=0.9", "application/json", `{"columns"`)
	f("text/csv;q=0, application/json", "application/json", `{"columns"`)
	f("*/*;q=0.1, application/json;q=0, text/csv;q=0", "application/x-ndjson", `{"customers"`)
	f("text/csv, */*", "text/csv", "customers,events")
	s.do("POST", "/v1/query", `{"query": "show events"}`, "Accept", "text/csv;q=0").refused(t, 406, "not_acceptable")
	s.do("POST", "/v1/query", `{"query": "show events"}`, "Accept", "image/png").refused(t, 406, "not_acceptable")
}

func TestQueryByLink(t *testing.T) {
	s := openWith(t, 10, Options{})
	get := func(values ...string) reply {
		v := url.Values{}
		for i := 0; i < len(values); i += 2 {
			v.Set(values[i], values[i+1])
		}
		return s.do("GET", "/v1/query?"+v.Encode(), "")
	}
	if r := get("q", "measure customers[channel = $where]", "param.where", "store"); !strings.Contains(r.body, "[[5]]") {
		t.Errorf("%s %s", r.Status, r.body)
	}
	for _, lenient := range []string{"", "1", "true"} {
		if r := get("q", "funnel view -> nothing_like_it", "lenient", lenient); r.StatusCode != 200 || !strings.Contains(r.body, "nothing_like_it") {
			t.Errorf("a query with lenient=%s: %s %s", lenient, r.Status, r.body)
		}
	}
	get("q", "funnel view -> nothing_like_it", "lenient", "0").refused(t, 400, "unknown_event")
	get("q", "funnel view -> nothing_like_it", "lenient", "false").refused(t, 400, "unknown_event")
	get("q", "show events", "lenient", "perhaps").refused(t, 400, "bad_request")
	r := get("q", "define stage looking as view")
	r.refused(t, 405, "needs_post")
	if r.Header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", r.Header.Get("Allow"))
	}
	get("q", "drop looking").refused(t, 405, "needs_post")
	get().refused(t, 400, "empty_query")
	get("q", "show events", "timeout_ms", "soon").refused(t, 400, "bad_request")
	if rows := s.ask("show definitions"); len(rows) != 0 {
		t.Errorf("a link defined %v", rows)
	}
	s.ask("define stage looking as view")
	if rows := s.ask("funnel looking -> purchase within 1d"); rows[1][2] != 5.0 {
		t.Errorf("%v", rows)
	}
}

func TestQueryParameters(t *testing.T) {
	s := openWith(t, 10, Options{})
	f := func(params, want string) {
		t.Helper()
		r := s.do("POST", "/v1/query", `{"query": "measure events[value = $v] as n", "params": `+params+`}`)
		if !strings.Contains(r.body, want) {
			t.Errorf("%s: %s", params, r.body)
		}
	}
	f(`{"v": 1.5}`, "[[15]]")
	f(`{"v": 2}`, "[[0]]")
	f(`{"v": null}`, "[[0]]")
	f(`{"v": "1.5"}`, `"error"`) // a text is not a number
	f(`{"v": [1]}`, "bad_parameter")
	f(`{"v": 1e400}`, "bad_parameter")
	f(`{}`, "$v")
}

func TestQueriesThatCannotBeRead(t *testing.T) {
	s := openWith(t, 2, Options{})
	f := func(body string, status int, code string) {
		t.Helper()
		s.do("POST", "/v1/query", body).refused(t, status, code)
	}
	f(`{"query": "show events", "limit": 3}`, 400, "bad_request")
	f(`{"query": "show events"} x`, 400, "bad_request")
	f(`show events`, 400, "bad_request")
	f(`{"query": "  "}`, 400, "empty_query")
	f(`{"query": "show events; show channels"}`, 400, "several_statements")
	f(`{"query": "`+strings.Repeat("x", queryTextMax)+`"}`, 413, "too_large")
	f(`{"query": "measure events[`+strings.Repeat("(", 10_000)+`"}`, 400, "nesting_too_deep")
	s.do("POST", "/v1/query", "show events", "Content-Type", "text/plain", "X-Query-Id", "a b").refused(t, 400, "bad_query_id")
}

func TestMistakesNameTheirPlace(t *testing.T) {
	s := openWith(t, 2, Options{})
	r := s.do("POST", "/v1/query", "funnel view ->\n purchse -> cart", "Content-Type", "text/plain")
	e := r.refused(t, 400, "unknown_event")
	if e.Line != 2 || e.Column != 2 || e.Length != 7 || !strings.Contains(e.Hint, `"purchase"`) {
		t.Errorf("%+v", e)
	}
	var all struct{ Errors []apiError }
	if r.decode(t, &all); len(all.Errors) != 2 || all.Errors[1].Column != 13 {
		t.Errorf("all mistakes: %s", r.body)
	}
}

func TestUnchangedAnswers(t *testing.T) {
	s := openWith(t, 10, Options{})
	plain := []string{"Content-Type", "text/plain"}
	first := s.do("POST", "/v1/query", funnel, plain...)
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("%v", first.Header)
	}
	// Asked again the answer comes from the cache of results, then as it was
	// written: the rows and the tag are the same each time.
	for i := range 3 {
		again := s.do("POST", "/v1/query", funnel, plain...)
		if again.Header.Get("ETag") != tag || !strings.Contains(again.body, `"cached":true`) || before(again.body, `"meta"`) != before(first.body, `"meta"`) {
			t.Errorf("time %d: %s", i+2, again.body)
		}
	}
	for _, none := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		if r := s.do("POST", "/v1/query", funnel, append(plain, "If-None-Match", none)...); r.StatusCode != 304 || r.body != "" {
			t.Errorf("If-None-Match %s: %s %s", none, r.Status, r.body)
		}
	}
	if r := s.do("POST", "/v1/query", funnel, append(plain, "Accept", "text/csv", "If-None-Match", tag)...); r.StatusCode != 200 {
		t.Error("another format has the same tag")
	}
	if r := s.do("POST", "/v1/query", funnel, append(plain, "Cache-Control", "no-cache")...); !strings.Contains(r.body, `"cached":false`) {
		t.Errorf("no-cache: %s", r.body)
	}
	s.do("POST", "/v1/events", `{"customer": "new", "time": "2025-03-01T09:00:00Z", "event": "view"}`)
	r := s.do("POST", "/v1/query", funnel, append(plain, "If-None-Match", tag)...)
	if r.StatusCode != 200 || !strings.Contains(r.body, `"view", 11`) {
		t.Errorf("after new events: %s %s", r.Status, r.body)
	}
}

// Where the same state of the store may be answered otherwise the next time, no
// client is told that nothing has changed.
func TestAnswersThatMayChange(t *testing.T) {
	s := openWith(t, 100, Options{})
	f := func(query, want string) (found bool) {
		t.Helper()
		r := s.do("POST", "/v1/query", query, "Content-Type", "text/plain")
		if found = strings.Contains(r.body, want); found && r.Header.Get("ETag") != "" {
			t.Errorf("%s has a tag", query)
		}
		return found
	}
	for query, want := range map[string]string{"show status": "segments", "explain analyze measure events": "scan", "define stage looking as view": "defined"} {
		if !f(query, want) {
			t.Errorf("%s: no %s in the answer", query, want)
		}
	}
	n := 0
	eventually(t, "a model of before answers", func() bool {
		n++
		s.do("POST", "/v1/events", fmt.Sprintf(`{"customer": "new", "time": %d, "event": "view"}`, n))
		return f("next for 'c0001'", "counted as of")
	})
}

func before(text, mark string) string {
	head, _, _ := strings.Cut(text, mark)
	return head
}

// What one client asked for is not given to one who asked for something else.
func TestWrittenAnswersAreOfTheSameRequest(t *testing.T) {
	s := openWith(t, 10, Options{})
	ask := func(body, accept string) string {
		return s.do("POST", "/v1/query", body, "Accept", accept).body
	}
	const text = `{"query": "measure customers[channel = $c] as n", "params": {"c": %}}`
	for range 3 {
		if got := ask(strings.Replace(text, "%", `"web"`, 1), "text/csv"); got != "n\n10\n" {
			t.Errorf("web: %q", got)
		}
		if got := ask(strings.Replace(text, "%", `"store"`, 1), "text/csv"); got != "n\n5\n" {
			t.Errorf("store: %q", got)
		}
		if got := ask(strings.Replace(text, "%", `"store"`, 1), "application/json"); !strings.Contains(got, "[[5]]") {
			t.Errorf("store as JSON: %q", got)
		}
		if got := ask(`{"query": "funnel view -> basket"}`, "text/csv"); !strings.Contains(got, "unknown_event") {
			t.Errorf("a strict query: %q", got)
		}
		if got := ask(`{"query": "funnel view -> basket", "lenient": true}`, "text/csv"); !strings.Contains(got, "basket") || strings.Contains(got, "error") {
			t.Errorf("a lenient query: %q", got)
		}
	}
}

func TestAnswersKeptAreBounded(t *testing.T) {
	a := &answers{}
	body := make([]byte, 1<<20)
	for i := range 100 {
		a.put("v1", answerKey{query: strings.Repeat("q", i)}, &answer{body: body})
		if a.bytes > answersBytesMax {
			t.Fatalf("%d bytes are kept", a.bytes)
		}
	}
	if a.get("v1", answerKey{query: strings.Repeat("q", 99)}) == nil {
		t.Error("the newest is not kept")
	}
	a.put("v1", answerKey{query: "large"}, &answer{body: make([]byte, answersBytesMax)})
	if a.get("v1", answerKey{query: "large"}) != nil {
		t.Error("one answer takes all the room")
	}
	a.put("v2", answerKey{}, &answer{})
	if a.get("v1", answerKey{query: "q"}) != nil || len(a.kept) != 1 {
		t.Error("answers of another state are kept")
	}
}

// An answer may be far longer than what the query counted: NDJSON has the
// columns' names in each row. It is not kept, and not written into memory to see.
func TestAnswersThatGrowAsTheyAreWritten(t *testing.T) {
	const customers = 1000
	s := openWith(t, customers, Options{})
	name := strings.Repeat("n", 60_000)
	for _, what := range []string{"computed", "kept by the engine", "asked for once more"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		req, err := http.NewRequest("POST", s.URL+"/v1/query", strings.NewReader(`measure events as "`+name+`" by customer limit 1000`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"text/plain"}, "Accept": {"application/x-ndjson"}, "Accept-Encoding": {"identity"}}
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		runtime.ReadMemStats(&after)
		if err != nil || res.StatusCode != 200 || n < int64(customers*len(name)) {
			t.Errorf("%s: %s, %d bytes, %v", what, res.Status, n, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > answersBytesMax {
			t.Errorf("%s: %d bytes were allocated", what, took)
		}
	}
}

// background starts a query and returns where its end will show.
func (s *shop) background(ctx context.Context, id, query string) <-chan result {
	done := make(chan result, 1)
	go func() {
		r, err := s.call(ctx, "POST", "/v1/query", query, "Content-Type", "text/plain", "X-Query-Id", id)
		done <- result{r, err}
	}()
	return done
}

type result struct {
	reply
	err error
}

func TestEndingAQuery(t *testing.T) {
	s := openWith(t, 400, Options{})
	g := s.files.hold()
	done := s.background(t.Context(), "slow-1", funnel)
	<-g.reached
	s.do("POST", "/v1/query", funnel, "Content-Type", "text/plain", "X-Query-Id", "slow-1").refused(t, 409, "query_id_in_use")
	if r := s.do("DELETE", "/v1/queries/slow-1", ""); r.StatusCode != 204 {
		t.Errorf("%s %s", r.Status, r.body)
	}
	(<-done).refused(t, 409, "query_ended")
	s.files.release()
	eventually(t, "the query is forgotten", func() bool { return s.server.running.count() == 0 })
	s.do("DELETE", "/v1/queries/slow-1", "").refused(t, 404, "not_found")
	if r := s.do("POST", "/v1/query", funnel, "Content-Type", "text/plain", "X-Query-Id", "slow-1"); r.Header.Get("X-Query-Id") != "slow-1" || r.StatusCode != 200 {
		t.Errorf("the id again: %s %v", r.Status, r.Header)
	}
}

func TestQueriesThatTakeTooLong(t *testing.T) {
	s := openWith(t, 400, Options{})
	s.files.hold()
	r := s.do("POST", "/v1/query", `{"query": "`+funnel+`", "timeout_ms": 20}`)
	if e := r.refused(t, 400, "time_limit"); !strings.Contains(e.Hint, "timeout_ms") || strings.Contains(e.Message, e.Hint) {
		t.Errorf("the hint is %q", e.Hint)
	}
	s.files.release()
	for _, ms := range []int64{math.MaxInt64, math.MaxInt64/int64(time.Millisecond) + 1} { // longer than the server lets any take
		if r := s.do("POST", "/v1/query", fmt.Sprintf(`{"query": "measure customers", "timeout_ms": %d}`, ms)); r.StatusCode != 200 {
			t.Errorf("%d ms: %s %s", ms, r.Status, r.body)
		}
	}
}

// A query may take as long as the server allows, also beyond what the engine does
// by itself.
func TestQueriesThatMayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &slowFiles{FS: vfs.NewMem()}
		db, err := engine.Open("shop", engine.Options{Storage: storage.Options{FS: files, CacheBytes: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Append(t.Context(), []event.Event{{Customer: "ann", Name: "view"}}); err != nil {
			t.Fatal(err)
		}
		if err := db.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		g := files.hold()
		done := make(chan error)
		go func() {
			_, err := New(db, Options{QueryTimeout: time.Hour}).run(t.Context(), queryRequest{Query: "measure customers[event = 'view']"}, false, nil)
			done <- err
		}()
		<-g.reached
		time.Sleep(time.Hour - time.Second)
		files.release()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// readsOf counts the reads of a whole query.
func (s *shop) readsOf(query string) int64 {
	begin := s.files.reads.Load()
	s.ask(query, "Cache-Control", "no-cache")
	return s.files.reads.Load() - begin
}

// waiting counts the requests that wait for a query that runs, their own or an
// equal one. A request that is running may not be so far yet.
func waiting() (n int) {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		first, frames, _ := strings.Cut(stack, "\n")
		if strings.Contains(first, "[select") && strings.HasPrefix(frames, "wend/engine.(*flights).do(") {
			n++
		}
	}
	return n
}

func TestAQueryEndsWhenItsLastClientGoesAway(t *testing.T) {
	s := openWith(t, 2000, Options{})
	all := s.readsOf(funnel)
	begin := s.files.reads.Load()
	g := s.files.hold()
	first, leave := context.WithCancel(t.Context())
	second, leaveToo := context.WithCancel(t.Context())
	one := s.background(first, "one", funnel)
	<-g.reached
	two := s.background(second, "two", funnel)
	eventually(t, "both wait", func() bool { return waiting() == 2 })
	leave()
	if r := <-one; !errors.Is(r.err, context.Canceled) {
		t.Errorf("%v", r.err)
	}
	leaveToo()
	<-two
	eventually(t, "nobody waits", func() bool { return s.server.running.count() == 0 })
	s.files.release()
	s.Server.Close() // waits for requests
	if err := s.db.Close(); err != nil {
		t.Fatal(err) // which waits for queries
	}
	if n := s.files.reads.Load() - begin; n >= all/2 {
		t.Errorf("the query read %d of %d pieces although nobody waited", n, all)
	}
}

func TestAQueryGoesOnForThoseWhoStay(t *testing.T) {
	s := openWith(t, 200, Options{})
	all := s.readsOf(funnel)
	begin := s.files.reads.Load()
	g := s.files.hold()
	leaving, leave := context.WithCancel(t.Context())
	first := s.background(leaving, "first", funnel)
	<-g.reached
	var others []<-chan result
	for _, id := range []string{"a", "b", "c", "d"} {
		others = append(others, s.background(t.Context(), id, funnel))
	}
	eventually(t, "all wait", func() bool { return waiting() == 5 })
	leave()
	<-first
	s.files.release()
	for _, other := range others {
		r := <-other
		if r.err != nil || r.StatusCode != 200 || !strings.Contains(r.body, `"purchase", 100`) {
			t.Errorf("%v %s", r.err, r.body)
		}
	}
	if n := s.files.reads.Load() - begin; n > all+all/2 {
		t.Errorf("five equal queries read %d pieces, one reads %d", n, all)
	}
}

func TestMoreQueriesThanSlots(t *testing.T) {
	s := openWith(t, 100, Options{})
	for range queriesAdmitted {
		s.server.slots <- struct{}{}
	}
	done := s.background(t.Context(), "waits", funnel)
	eventually(t, "it waits", func() bool { return s.server.running.count() == 1 })
	select {
	case r := <-done:
		t.Fatalf("it ran without a slot: %s", r.body)
	default:
	}
	<-s.server.slots
	if r := <-done; r.err != nil || r.StatusCode != 200 {
		t.Errorf("%v %s", r.err, r.body)
	}
}

// What takes turns with queries counts as one.
func TestMoreQueriesThanConnectionsForThem(t *testing.T) {
	s := openWith(t, 10, Options{})
	for i := range queriesMax {
		if err := s.server.running.add(fmt.Sprint(i), "", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	calls := [][2]string{{"POST", "/v1/query"}, {"POST", "/v1/check"}, {"POST", "/v1/complete"}, {"GET", "/v1/status"}}
	for _, c := range calls {
		s.do(c[0], c[1], `{"query": "show events"}`).refused(t, 503, "busy")
	}
	s.server.running.remove("0")
	for _, c := range calls {
		if r := s.do(c[0], c[1], `{"query": "show events"}`); r.StatusCode != 200 {
			t.Errorf("%s after one ended: %s %s", c[1], r.Status, r.body)
		}
	}
}

// Customers are counted for one status after the other. Who waits for that leaves
// with the client.
func TestMoreThanOneStatus(t *testing.T) {
	s := openWith(t, 10, Options{})
	s.server.counting <- struct{}{}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	done := make(chan error)
	go func() {
		_, err := s.call(ctx, "GET", "/v1/status", "")
		done <- err
	}()
	eventually(t, "it waits", func() bool { return s.server.running.count() == 1 })
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it was answered: %v", err)
	}
	eventually(t, "it waits no longer", func() bool { return s.server.running.count() == 0 })
	<-s.server.counting
	for range 2 {
		if r := s.do("GET", "/v1/status", ""); r.StatusCode != 200 || !strings.Contains(r.body, `"customers":10,`) {
			t.Errorf("%s %s", r.Status, r.body)
		}
	}
}

func TestConcurrentClients(t *testing.T) {
	s := openWith(t, 100, Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				q := []string{funnel, "show events", "paths to purchase within 1d", "measure customers by channel"}[i%4]
				r, err := s.call(t.Context(), "POST", "/v1/query", q, "Content-Type", "text/plain")
				if err != nil || r.StatusCode != 200 {
					t.Errorf("%s: %v %s", q, err, r.body)
				}
			}
		})
	}
	wg.Wait()
}
