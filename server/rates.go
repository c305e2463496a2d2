package server

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"wend/access"
)

// Requests a second that are good for one caller of a server for many.
const (
	QueryRate  = 100
	IngestRate = 200
)

const (
	burstOf    = 2 * time.Second // of requests that a caller may make at once, after a rest
	callersMax = 10_000          // remembered at once

	// addressShare is how many times the rate of one token all tokens that are
	// used from one address have together: an office behind one address goes on,
	// and who has many tokens cannot ask as if there were as many people.
	addressShare = 8
)

// rates keeps callers from crowding each other out: each has a bucket that
// fills steadily, and a request takes one from it.
type rates struct {
	perSecond float64 // 0: no limit
	burst     float64 // at once, after a rest
	mu        sync.Mutex
	buckets   map[string]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

func newRates(perSecond float64) *rates {
	return &rates{perSecond: perSecond, burst: max(1, perSecond*burstOf.Seconds()), buckets: map[string]*bucket{}}
}

// limiter is the rates of what counts together: of each token, or each address
// where there is none, and of all tokens of an address.
type limiter struct{ caller, address *rates }

func newLimiter(perSecond float64) *limiter {
	l := &limiter{newRates(perSecond), newRates(addressShare * perSecond)}
	l.address.burst = addressShare * l.caller.burst
	return l
}

// take takes a request of a token from an address, or says how long to wait,
// and whether for the address. A refusal costs neither anything.
func (l *limiter) take(token, address string, now time.Time) (wait time.Duration, crowded bool) {
	if wait := l.caller.take(token, now); wait > 0 {
		return wait, false
	}
	wait = l.address.take(address, now)
	if wait > 0 {
		l.caller.giveBack(token)
	}
	return wait, wait > 0
}

// take takes a request from a caller's bucket, or says how long the caller has
// to wait for one. A refusal costs nothing.
func (x *rates) take(caller string, now time.Time) (wait time.Duration) {
	if x.perSecond <= 0 {
		return 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.buckets[caller]
	if b == nil {
		if len(x.buckets) >= callersMax {
			x.forget(now)
		}
		b = &bucket{x.burst, now}
		x.buckets[caller] = b
	}
	b.left, b.at = x.filled(b, now), now
	if b.left < 1 {
		return time.Duration((1 - b.left) / x.perSecond * float64(time.Second))
	}
	b.left--
	return 0
}

// giveBack undoes a take.
func (x *rates) giveBack(caller string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.buckets[caller]; b != nil {
		b.left++
	}
}

func (x *rates) filled(b *bucket, now time.Time) float64 {
	return min(x.burst, b.left+max(0, now.Sub(b.at).Seconds())*x.perSecond)
}

// forget drops the callers whose bucket is full, of whom there is nothing to
// remember, and where these are few others with them: so it is seldom done.
func (x *rates) forget(now time.Time) {
	for caller, b := range x.buckets {
		if x.filled(b, now) >= x.burst {
			delete(x.buckets, caller)
		}
	}
	for caller := range x.buckets {
		if len(x.buckets) < callersMax*3/4 {
			return
		}
		delete(x.buckets, caller)
	}
}

// pool is the rate that a route counts under: what brings data in and what
// asks are apart, so that neither starves the other.
func (s *Server) pool(rt route) (l *limiter, of string) {
	if slices.Contains(rt.scopes, access.Ingest) && !slices.Contains(rt.scopes, access.Query) {
		return s.ingestRates, "ingest"
	}
	return s.queryRates, "query"
}

// charge counts a request: a token's holder by the token and, among all that
// hold one, by the address that the request came from; everybody else by the
// address alone.
func (s *Server) charge(rt route, r *http.Request, token string) error {
	l, of := s.pool(rt)
	address, now := s.address(r), time.Now()
	who, rate, wait := "this token", l.caller.perSecond, time.Duration(0)
	if token == "" {
		who, wait = "this address", l.caller.take("address "+address, now)
	} else {
		var crowded bool
		if wait, crowded = l.take("token "+token, address, now); crowded {
			who, rate = "the tokens of this address together", l.address.perSecond
		}
	}
	if wait == 0 {
		return nil
	}
	return &apiError{Status: http.StatusTooManyRequests, Code: "rate_limit", Wait: wait,
		Message: fmt.Sprintf("%s made more than %g %s requests a second", who, rate, of), Hint: fmt.Sprintf("wait as Retry-After says; --%s-rate sets the limit", of)}
}

// address is where a request came from. Behind a proxy it is what the proxy
// added last to X-Forwarded-For; what came before it anybody can write.
func (s *Server) address(r *http.Request) string {
	from := r.RemoteAddr
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	if s.opt.BehindProxy {
		if added := r.Header.Values("X-Forwarded-For"); len(added) > 0 {
			last := added[len(added)-1]
			from = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		}
	}
	ip, err := netip.ParseAddr(from)
	if err != nil {
		return "unknown"
	}
	if ip = ip.Unmap(); ip.Is6() { // one customer of a network has as many as that
		p, _ := ip.WithZone("").Prefix(64)
		return p.String()
	}
	return ip.String()
}

// retryAfter is a wait in the whole seconds that the header takes.
func retryAfter(wait time.Duration) int { return max(1, int(math.Ceil(wait.Seconds()))) }
