package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"wend/storage"
)

func TestCheck(t *testing.T) {
	s := openWith(t, 4, Options{})
	check := func(body string) (answer checkAnswer) {
		s.do("POST", "/v1/check", body).decode(t, &answer)
		return answer
	}
	if a := check(`{"query": "funnel view -> purchase"}`); !a.OK || len(a.Errors) != 0 {
		t.Errorf("%+v", a)
	}
	a := check(`{"query": "show events;\nfunnel vew -> purchas"}`)
	if a.OK || len(a.Errors) != 2 || a.Errors[0].Line != 2 || a.Errors[1].Code != "unknown_event" {
		t.Errorf("two mistakes in a script: %+v", a)
	}
	if a := check(`{"query": "define stage looking as view; funnel looking -> purchase"}`); !a.OK {
		t.Errorf("a script that uses its own definition: %+v", a.Errors[0])
	}
	if rows := s.ask("show definitions"); len(rows) != 0 {
		t.Error("checking defined something")
	}
	if a := check(`{"query": "measure events[value > $v]", "params": {"v": 1}}`); !a.OK {
		t.Errorf("with a parameter: %+v", a.Errors[0])
	}
	if a := check(`{"query": "funnel vew -> purchase", "lenient": true}`); !a.OK {
		t.Errorf("leniently: %+v", a.Errors[0])
	}
}

// Checking and completing are bounded as queries are: in how much they read, and
// in their time.
func TestCheckAndCompleteAreBounded(t *testing.T) {
	s := openWith(t, 4, Options{})
	script := strings.Repeat("drop zz;", 4000)
	for i := range 1000 {
		script = fmt.Sprintf("define stage s%d as view;", i) + script
	}
	var a checkAnswer
	s.do("POST", "/v1/check", `{"query": "`+script+`"}`).decode(t, &a)
	if a.OK || len(a.Errors) != 1 || a.Errors[0].Code != "too_many_statements" {
		t.Errorf("%d mistakes, the first %+v", len(a.Errors), a.Errors[0])
	}
	late := openWith(t, 4, Options{QueryTimeout: time.Nanosecond})
	late.do("POST", "/v1/check", `{"query": "show events"}`).refused(t, 400, "time_limit")
	late.do("POST", "/v1/complete", `{"query": "show "}`).refused(t, 400, "time_limit")
}

func TestComplete(t *testing.T) {
	s := openWith(t, 4, Options{})
	var a struct {
		From        int
		Completions []completion
	}
	s.do("POST", "/v1/complete", `{"query": "funnel pur"}`).decode(t, &a)
	if a.From != 7 || len(a.Completions) == 0 || a.Completions[0].Text != "purchase" || a.Completions[0].Kind != "event" {
		t.Errorf("%+v", a)
	}
	s.do("POST", "/v1/complete", `{"query": "fun view", "position": 3}`).decode(t, &a)
	if a.From != 0 || a.Completions[0].Text != "funnel" {
		t.Errorf("in the middle: %+v", a)
	}
	s.do("POST", "/v1/complete", `{"query": "x", "position": 2}`).refused(t, 400, "bad_position")
	s.do("POST", "/v1/complete", `{"query": "x", "position": -1}`).refused(t, 400, "bad_position")
}

func TestSchemaAndStatus(t *testing.T) {
	s := openWith(t, 4, Options{})
	s.ask("define channels shops as store")
	const want = `{"channels":[{"name":"web","events":4},{"name":"store","events":2}],"definitions":[{"kind":"channels","name":"shops","text":"define channels shops as store"}],"events":[{"name":"view","events":4},{"name":"purchase","events":2}],"properties":[{"name":"value","type":"float"}]}`
	if r := s.do("GET", "/v1/schema", ""); strings.TrimSpace(r.body) != want {
		t.Errorf("%s", r.body)
	}
	var st storage.Status
	s.do("GET", "/v1/status", "").decode(t, &st)
	if st.Events != 6 || st.Customers != 4 || len(st.Segments) != 1 || st.Definitions != 1 || st.From.String() != "2025-03-01T10:00:00Z" {
		t.Errorf("%+v", st)
	}
	empty := open(t, Options{})
	r := empty.do("GET", "/v1/status", "")
	if strings.Contains(r.body, "1970") || strings.Contains(r.body, "null") || !strings.Contains(r.body, `"segments":[]`) {
		t.Errorf("of an empty store: %s", r.body)
	}
}

func TestMetricsParse(t *testing.T) {
	s := openWith(t, 10, Options{})
	s.ask(funnel)
	s.ask(funnel)
	s.ask(funnel)
	s.do("GET", "/v1/links/x", "")
	r := s.do("GET", "/metrics", "")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string) float64 {
		f := families[name]
		if f == nil {
			t.Fatalf("there is no %s", name)
		}
		m := f.GetMetric()[0]
		return m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	for name, want := range map[string]float64{"wend_store_events": 15, "wend_store_segments": 1, "wend_query_cache_hits_total": 2,
		"wend_query_events_read_total": 15, "wend_panics_total": 0, "wend_queries_running": 0, "wend_query_partial_total": 0} {
		if got := value(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for name, f := range families {
		if strings.HasPrefix(name, "wend_") && f.GetHelp() == "" {
			t.Errorf("%s does not say what it is", name)
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if strings.Contains(l.GetValue(), "links/x") {
					t.Errorf("%s has a label that a client chose: %v", name, l)
				}
			}
		}
	}
}

// Neither the log nor the metrics repeat what clients send.
func TestNothingOfARequestIsLogged(t *testing.T) {
	const canary = "canary7"
	f := func(opt Options) *shop {
		s := openWith(t, 2, opt)
		s.do("POST", "/v1/query", "show "+canary, "Content-Type", "text/plain")
		s.do("POST", "/v1/query", "customers among customer."+canary+" = '"+canary+"'", "Content-Type", "text/plain")
		s.do("POST", "/v1/events", `{"customer": "`+canary+`", "time": "`+canary+`", "event": "e"}`)
		s.do("POST", "/v1/links", `{"from": "`+canary+`", "to": "`+canary+`"}`)
		s.do("DELETE", "/v1/queries/"+canary, "")
		s.do("GET", "/v1/"+canary, "")
		if strings.Contains(s.do("GET", "/metrics", "").body, canary) {
			t.Error("the metrics hold what a client sent")
		}
		return s
	}
	if log := f(Options{}).log.String(); strings.Contains(log, canary) {
		t.Errorf("the log holds what a client sent: %s", log)
	}
	if log := f(Options{LogQueries: true}).log.String(); !strings.Contains(log, "show "+canary) {
		t.Errorf("--log-queries logs %q", log)
	}
}
