package server

import (
	"strings"
	"testing"

	"wend/storage"
)

func TestErase(t *testing.T) {
	s := openWith(t, 4, Options{})
	s.do("POST", "/v1/links", `{"from": "c0001", "to": "c0000"}`)
	var r, unknown storage.Receipt
	answer := s.do("POST", "/v1/erase", `{"customer": "c0001", "after": "suppress"}`)
	if answer.StatusCode != 202 {
		t.Fatalf("%s %s", answer.Status, answer.body)
	}
	if strings.Contains(answer.body, "c000") {
		t.Errorf("the receipt names the customer: %s", answer.body)
	}
	answer.decode(t, &r)
	if r.State != "rewriting" || r.ID == "" || r.Finished != nil {
		t.Errorf("the receipt so far: %+v", r)
	}
	if rows := s.ask("measure customers"); rows[0][0] != 2.0 {
		t.Errorf("%v customers of four, after two that are one went", rows[0][0])
	}
	// A customer that nobody knows gets the same kind of answer.
	answer = s.do("POST", "/v1/erase", `{"customer": "nobody"}`)
	answer.decode(t, &unknown)
	if answer.StatusCode != 202 || unknown.State != "rewriting" || unknown.After != "allow" {
		t.Errorf("unknown: %s %+v", answer.Status, unknown)
	}
	for _, id := range []string{r.ID, unknown.ID} {
		if _, err := s.db.WaitErased(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		s.do("GET", "/v1/erase/"+id, "").decode(t, &r)
		if r.State != "done" || r.Finished == nil {
			t.Errorf("%+v", r)
		}
	}
	body := s.do("POST", "/v1/events", `{"customer": "c0000", "time": "2025-03-01", "event": "view"}`).body
	if !strings.Contains(body, `"suppressed":1`) || !strings.Contains(body, `"accepted":0`) {
		t.Errorf("a later event: %s", body)
	}
	s.do("GET", "/v1/erase/none", "").refused(t, 404, "not_found")
	s.do("POST", "/v1/erase", `{"customer": ""}`).refused(t, 400, "no_customer")
	s.do("POST", "/v1/erase", `{"customer": "x", "after": "forget"}`).refused(t, 400, "bad_after")
	s.do("POST", "/v1/erase", `{"customer": "x", "after": "suppress", "lift": true}`).refused(t, 400, "bad_after")
	s.do("POST", "/v1/links", `{"from": "x", "to": "c0000"}`).refused(t, 400, "bad_link")
	if told := s.do("GET", "/metrics", "").body + s.log.String(); strings.Contains(told, "c000") || strings.Contains(told, "nobody") {
		t.Errorf("a name is in the metrics or in the log: %s", told)
	}
}
