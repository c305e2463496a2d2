package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"wend/access"
	"wend/internal/trust"
)

// One client asks ten times as often as it may, ten ask as often as they may:
// these never notice.
func TestOneGreedyClientAmongHonestOnes(t *testing.T) {
	const perSecond, seconds, honest = 20, 60, 10
	x := newRates(perSecond)
	now := time.Unix(0, 0)
	got := map[string]int{}
	for range seconds * perSecond {
		now = now.Add(time.Second / perSecond)
		for range 10 {
			if x.take("greedy", now) == 0 {
				got["greedy"]++
			}
		}
		for i := range honest {
			if x.take(fmt.Sprint(i), now) == 0 {
				got["honest"]++
			}
		}
	}
	alone := seconds * perSecond * honest
	if got["honest"] != alone {
		t.Errorf("honest clients had %d of %d requests answered", got["honest"], alone)
	}
	if most := int(x.burst) + seconds*perSecond; got["greedy"] > most || got["greedy"] < most-1 {
		t.Errorf("the greedy client had %d requests answered, want %d", got["greedy"], most)
	}
	trust.Report(t, "S9", "honest", fmt.Sprintf("%d%%", 100*got["honest"]/alone), "greedy", fmt.Sprintf("%d%%", 100*got["greedy"]/(seconds*perSecond*10)))
}

// Many tokens of one address are limited together, and a token of another
// address does not notice; nor do the others while one of them is refused alone.
func TestManyTokensOfOneAddress(t *testing.T) {
	const perSecond, seconds, tokens = 10, 60, 50
	l := newLimiter(perSecond)
	now := time.Unix(0, 0)
	together, elsewhere := 0, 0
	for range seconds * perSecond {
		now = now.Add(time.Second / perSecond)
		for i := range tokens {
			wait, crowded := l.take(fmt.Sprint("token ", i), "10.0.0.1", now)
			if wait == 0 {
				together++
			} else if !crowded {
				t.Fatalf("token %d is told that it asked too often itself", i)
			}
		}
		if wait, _ := l.take("token x", "10.0.0.2", now); wait == 0 {
			elsewhere++
		}
	}
	if most := int(l.address.burst) + seconds*perSecond*addressShare; together > most || together < most-addressShare {
		t.Errorf("%d tokens of one address had %d requests answered, want %d", tokens, together, most)
	}
	if elsewhere != seconds*perSecond {
		t.Errorf("a token of another address had %d of %d requests answered", elsewhere, seconds*perSecond)
	}
	now = now.Add(time.Hour)
	greedy := 0
	for range 1000 { // of one token, at one time
		if wait, _ := l.take("token 1", "10.0.0.1", now); wait == 0 {
			greedy++
		}
	}
	if wait, _ := l.take("token 2", "10.0.0.1", now); wait != 0 || greedy != int(l.caller.burst) {
		t.Errorf("after %d requests of one token, another one of its address waits %s", greedy, wait)
	}
	trust.Report(t, "S9", "tokens of one address", tokens, "served", fmt.Sprintf("%d%%", 100*together/(seconds*perSecond*tokens)), "of another address", fmt.Sprintf("%d%%", 100*elsewhere/(seconds*perSecond)))
}

func TestBuckets(t *testing.T) {
	x := newRates(2)
	now := time.Unix(0, 0)
	f := func(after, want time.Duration) {
		t.Helper()
		now = now.Add(after)
		if got := x.take("a", now); got != want {
			t.Errorf("at %s a request waits %s, want %s", now.Sub(time.Unix(0, 0)), got, want)
		}
	}
	for range 4 { // what two seconds bring, at once
		f(0, 0)
	}
	f(0, 500*time.Millisecond)
	f(0, 500*time.Millisecond) // a refusal costs nothing
	f(250*time.Millisecond, 250*time.Millisecond)
	f(250*time.Millisecond, 0)
	f(0, 500*time.Millisecond)
	f(-time.Hour, 500*time.Millisecond) // a clock that goes back gives nothing and takes nothing
	f(time.Hour+time.Second, 0)
	for i := range 3 * callersMax {
		x.take(fmt.Sprint(i), now)
	}
	if len(x.buckets) > callersMax {
		t.Errorf("%d callers are remembered", len(x.buckets))
	}
	if unlimited := newRates(0); unlimited.take("a", now) != 0 || len(unlimited.buckets) != 0 {
		t.Error("no limit is one")
	}
}

func TestRateLimits(t *testing.T) {
	x := withTokens(t)
	s := open(t, Options{Access: x.keeper, QueryRate: 0.001, IngestRate: 0.001})
	as := func(token access.Token) []string { return []string{"Authorization", "Bearer " + token.Reveal()} }
	ok := func(r reply) {
		t.Helper()
		if r.StatusCode != 200 {
			t.Errorf("%s %s", r.Status, r.body)
		}
	}
	ok(s.do("GET", "/v1/schema", "", as(x.byScope[access.Query])...))
	r := s.do("GET", "/v1/schema", "", as(x.byScope[access.Query])...)
	if e := r.refused(t, 429, "rate_limit"); !strings.Contains(e.Message, "0.001 query requests a second") || !strings.Contains(e.Hint, "--query-rate") {
		t.Errorf("%+v", e)
	}
	if after := r.Header.Get("Retry-After"); after != "1000" {
		t.Errorf("Retry-After: %q", after)
	}
	// Another token and another pool have buckets of their own.
	ok(s.do("POST", "/v1/events", "", as(x.byScope[access.Ingest])...))
	s.do("POST", "/v1/events", "", as(x.byScope[access.Ingest])...).refused(t, 429, "rate_limit")
	ok(s.do("GET", "/v1/schema", "", as(x.all)...))
	ok(s.do("POST", "/v1/events", "", as(x.all)...))
	// Who has no token is counted by the address, and costs no holder of one anything.
	s.do("GET", "/v1/status", "").refused(t, 401, "unauthorized")
	s.do("GET", "/v1/status", "", as(x.unknown)...).refused(t, 429, "rate_limit")
	ok(s.do("GET", "/metrics", "", as(x.byScope[access.Admin])...))
	ok(s.do("GET", "/healthz", ""))
	ok(s.do("GET", "/healthz", ""))
}

func TestAddressesOfCallers(t *testing.T) {
	f := func(proxy bool, remote, want string, forwarded ...string) {
		t.Helper()
		s := &Server{opt: Options{BehindProxy: proxy}}
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": forwarded}}
		if got := s.address(r); got != want {
			t.Errorf("%s, forwarded for %q: %s, want %s", remote, forwarded, got, want)
		}
	}
	f(false, "10.0.0.1:1", "10.0.0.1")
	f(false, "10.0.0.1:1", "10.0.0.1", "1.1.1.1") // without a proxy anybody can write it
	f(true, "10.0.0.1:1", "1.1.1.1", "1.1.1.1")
	f(true, "10.0.0.1:1", "3.3.3.3", "1.1.1.1, 2.2.2.2", "9.9.9.9,3.3.3.3")
	f(true, "10.0.0.1:1", "10.0.0.1")
	f(true, "10.0.0.1:1", "unknown", "nonsense")
	f(false, "[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64")
	f(false, "[fe80::1%eth0]:1", "fe80::/64")
	f(false, "[::ffff:10.0.0.1]:1", "10.0.0.1")
}
