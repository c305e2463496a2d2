package server

import (
	"strings"
	"testing"
)

// What does not fit is told in words of JSON, and what could be read in two
// ways is not read.
func TestBodiesThatDoNotFit(t *testing.T) {
	s := open(t, Options{})
	f := func(path, body, want string) {
		t.Helper()
		r := s.do("POST", path, body)
		if r.StatusCode != 400 || !strings.Contains(r.body, want) {
			t.Errorf("POST %s %s: %s %swant %s", path, body, r.Status, r.body, want)
		}
		if strings.Contains(r.body, "Go ") || strings.Contains(r.body, "json:") || strings.Contains(r.body, "struct") {
			t.Errorf("POST %s %s speaks of the program: %s", path, body, r.body)
		}
	}
	f("/v1/links", `{"from": 1, "to": "c"}`, `\"from\" is a number, and a text is needed`)
	f("/v1/links", `[{"from": "a", "to": "b"}`, `it ends in the middle`)
	f("/v1/links", `[{"from": "a", "to": "b"}, {]`, `no JSON at byte`)
	f("/v1/links", `[{"from": "a", "to": "b"}] []`, `more than one value`)
	f("/v1/links", `[{"from": "a", "to": "b"}]} garbage`, `more than one value`)
	f("/v1/links", `["c"]`, `it is a text, and an object is needed`)
	f("/v1/links", `{"from": "a", "to": "b", "to": "c"}`, `field \"to\" is there more than once`)
	f("/v1/links", `[{"from": "a", "to": "b"}, {"from": "c", "to": "d", "from": "e"}]`, `field \"from\" is there more than once`)
	f("/v1/links", `{"from": "c\ud800", "to": "d"}`, "it is not UTF-8")
	f("/v1/links", "{\"from\": \"c\xff\", \"to\": \"d\"}", "it is not UTF-8")
	f("/v1/sync", `{"lsn": -1}`, `\"lsn\" is a number, and a whole number from 0 on is needed`)
	f("/v1/sync", `{"lsn": "1"}`, `\"lsn\" is a text`)
	f("/v1/sync", `{"lsn": 1`, "it ends in the middle")
	f("/v1/sync", `{"lsn": 1, "why": 2}`, `unknown field \"why\"`)
	f("/v1/sync", ``, "it is empty")
	f("/v1/sync", `{"lsn": x}`, "no JSON at byte 9")
	f("/v1/query", `{"query": "show events"}] and garbage`, `more than one value`)
	f("/v1/query", `{"query": ["show events"]}`, `\"query\" is a list, and a text is needed`)
	f("/v1/query", `{"query": "show events", "lenient": 1}`, `\"lenient\" is a number, and true or false is needed`)
	f("/v1/query", `{"query": "show events", "params": [1]}`, `\"params\" is a list, and an object is needed`)
	f("/v1/query", `{"query": "show events", "params": {"a": {"x": 1, "x": 2}}}`, `field \"x\" is there more than once`)
	f("/v1/erase", `{"customer": "c\udc00\ud800"}`, "it is not UTF-8")
	f("/v1/erase", `{"customer": "c1", "Customer": "c2"}`, `unknown field \"Customer\"`)
	f("/v1/erase", `{"cu\u017ftomer": "c1"}`, `unknown field`) // a long s, which is an s in other letters
	f("/v1/links", `[{"from": "a", "to": "b"}, {"From": "c", "to": "d"}]`, `unknown field \"From\"`)
	if r := s.do("POST", "/v1/query", `{"query": "show events", "params": {"a": 1, "A": 2}}`); r.StatusCode != 200 {
		t.Errorf("parameters that differ in their letters: %s %s", r.Status, r.body)
	}
	// Both halves, an escaped backslash before a u, and the same field of two objects are no mistakes.
	r := s.do("POST", "/v1/links", `[{"from": "\ud83d\ude00", "to": "d"}, {"from": "\\ud800", "to": "d"}]`)
	if r.StatusCode != 200 || r.body != `{"links":2}`+"\n" {
		t.Errorf("%s %s", r.Status, r.body)
	}
}
