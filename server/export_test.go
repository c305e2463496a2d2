package server

import (
	"strings"
	"testing"
	"time"

	"wend/event"
)

func TestExport(t *testing.T) {
	s := openWith(t, 40, Options{})
	r := s.do("GET", "/v1/export", "")
	if lines := strings.Count(r.body, "\n"); r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/x-ndjson" || lines != 60 {
		t.Errorf("%s %s: %d lines, want 60", r.Status, r.Header.Get("Content-Type"), lines)
	}
	if r.Header.Get(partialResult)+r.Trailer.Get(partialResult) != "" {
		t.Error("a whole store is called partial")
	}
	r = s.do("GET", "/v1/export", "", "Accept", "text/csv")
	if first, _, _ := strings.Cut(r.body, "\n"); !strings.HasPrefix(first, "customer,time,event,") || strings.Count(r.body, "\n") != 61 {
		t.Errorf("as csv: %.200s", r.body)
	}
	s.do("GET", "/v1/export", "", "Accept", "application/pdf").refused(t, 406, "not_acceptable")
	// What was exported is what was sent.
	other := open(t, Options{})
	other.do("POST", "/v1/events", s.do("GET", "/v1/export", "").body)
	if got, want := other.ask("measure events, customers, sum(value)"), s.ask("measure events, customers, sum(value)"); got[0][0] != want[0][0] || got[0][2] != want[0][2] {
		t.Errorf("sent again it is %v, was %v", got, want)
	}
	for range exportsRunning {
		s.server.exports <- struct{}{}
	}
	if r := s.do("GET", "/v1/export", ""); r.Header.Get("Retry-After") == "" {
		t.Errorf("one export too many: %s", r.Status)
	}
}

// An export that cannot go on is cut off, and a client does not take it for whole.
func TestExportThatStops(t *testing.T) {
	s := open(t, Options{})
	var events []event.Event
	for i := range 20_000 {
		events = append(events, event.Event{Customer: "customer-" + strings.Repeat("x", 50) + string(rune('a'+i%26)), Time: event.At(time.Unix(int64(i), 0)), Name: "view"})
	}
	if _, err := s.db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := s.do("GET", "/v1/export", "").body
	if strings.Count(whole, "\n") != 20_000 {
		t.Fatalf("%d lines", strings.Count(whole, "\n"))
	}
	s.server.cancel() // as a server does whose grace is over
	r, err := s.call(t.Context(), "GET", "/v1/export", "")
	if err == nil && r.StatusCode == 200 {
		t.Errorf("an export that was stopped looks whole, with %d of %d bytes", len(r.body), len(whole))
	}
}
