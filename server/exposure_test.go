package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"wend/internal/trust"
)

func TestAddressesThatMayBeListenedOn(t *testing.T) {
	combinations, unsafe := 0, 0
	f := func(address string, local bool) {
		t.Helper()
		for bits := range 16 {
			e := Exposure{Tokens: bits&1 > 0, TLS: bits&2 > 0, Proxy: bits&4 > 0, Insecure: bits&8 > 0}
			want := local || e.Tokens && (e.TLS || e.Proxy || e.Insecure)
			err := CheckExposure(address, e)
			combinations++
			if err == nil && !want {
				unsafe++
			}
			if (err == nil) != want {
				t.Errorf("%s with %+v: %v", address, e, err)
			}
		}
	}
	for _, address := range []string{"127.0.0.1:7171", "localhost:0", "LocalHost:1", "localhost.:1", "[::1]:80", "127.1.2.3:80", "[::ffff:127.0.0.1]:80", "[0:0:0:0:0:0:0:1]:80"} {
		f(address, true)
	}
	for _, address := range []string{"0.0.0.0:80", "[::]:80", ":7171", "192.168.0.1:80", "10.0.0.1:80", "shop.example:80", "localhost.example:80", "[::ffff:10.0.0.1]:80",
		"[::ffff:0.0.0.0]:80", "[fe80::1%lo]:80", "[::1%eth0]:80", "127.0.0.1.example:80", "2130706433:80", "0177.0.0.1:80", "[fd00::1]:1"} {
		f(address, false)
	}
	for _, address := range []string{"7171", "localhost", "/run/wend.sock", "unix:/run/wend.sock:", "::1", "", "[::1]"} {
		if err := CheckExposure(address, Exposure{true, true, true, true}); err == nil {
			t.Errorf("%q is taken for an address", address)
		}
	}
	for setting, e := range map[string]Exposure{"wend token DB create": {TLS: true}, "--behind-tls-proxy": {Tokens: true}, "--insecure": {Tokens: true}, "--tls-cert": {Tokens: true}} {
		if err := CheckExposure("0.0.0.0:80", e); !strings.Contains(err.Error(), setting) {
			t.Errorf("%v does not name %s", err, setting)
		}
	}
	trust.Report(t, "S1", "combinations", combinations, "unsafe", unsafe)
}

// Each line is a Host header; the first word says what becomes of it.
const hostCases = `
ok localhost
ok localhost:7171
ok LOCALHOST
ok LocalHost:1
ok localhost.
ok localhost.:7171
ok localhost:
ok 127.0.0.1
ok 127.0.0.1:80
ok 127.8.9.1:80
ok 127.255.255.254
ok [::1]
ok [::1]:7171
ok [0:0:0:0:0:0:0:1]
ok [::ffff:127.0.0.1]:80
ok [::FFFF:127.0.0.1]
ok wend.example
ok Wend.Example:443
ok WEND.EXAMPLE.
ok wend.example.:443
ok 10.0.0.5
ok 10.0.0.5:7171
ok [::ffff:10.0.0.5]
ok [2001:db8::5]
ok [2001:0DB8:0::5]:7171
no evil.example
no evil.example:7171
no evil.example.
no localhost.evil.example
no localhost.evil.example:7171
no evil.localhost
no 127.0.0.1.evil.example
no 127.0.0.1.nip.io
no wend.example.evil
no evil-wend.example
no sub.wend.example
no wend.example..
no localhost..
no wend
no example
no 0.0.0.0
no 0.0.0.0:7171
no [::]
no [::]:7171
no 10.0.0.1
no 10.0.0.50
no 192.168.0.1
no [::2]
no [fe80::1]
no [2001:db8::6]
no [localhost]
no [wend.example]
no [127.0.0.1]
no ::1
no [::1
no [::1]x
no [::1]x:80
no [::1]:80:90
no localhost:80:90
no localhost:http
no localhost:80x
no localhost:-1
no 2130706433
no 0x7f000001
no 0177.0.0.1
no 127.1
ok 127.0.0.1.
no localhost,evil.example
`

func TestHostsThatAreNotOurs(t *testing.T) {
	s := open(t, Options{Hosts: []string{"wend.example", "10.0.0.5", "2001:db8::5"}})
	cases, foreign := 0, 0
	for line := range strings.Lines(hostCases) {
		word, host, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		cases++
		want := map[string]int{"ok": 200, "no": 403}[word]
		if got := statusOf(t, s, "GET /healthz HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); got != want {
			t.Errorf("host %q: %d, want %d", host, got, want)
			foreign++
		}
	}
	for request, want := range map[string]int{
		"GET /healthz HTTP/1.1\r\n\r\n":                                                      400, // no host at all
		"GET /healthz HTTP/1.0\r\n\r\n":                                                      403, // as old clients do
		"GET /healthz HTTP/1.1\r\nHost: \r\n\r\n":                                            403,
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n":             400,
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n":                400,
		"GET /healthz HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n":                      400,
		"GET /healthz HTTP/1.1\r\nHost: localhost evil.example\r\n\r\n":                      400,
		"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":                403, // the address of the request counts
		"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n\r\n": 403,
		"POST /v1/query HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}":       403,
		"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                   403,
	} {
		cases++
		if got := statusOf(t, s, request); got != want {
			t.Errorf("%q: %d, want %d", request, got, want)
			foreign++
		}
	}
	e := s.do("GET", "/v1/status", "", "Host", "evil.example").refused(t, 403, "unknown_host")
	if !strings.Contains(e.Hint, "--host") {
		t.Errorf("the hint %q does not name the setting", e.Hint)
	}
	trust.Report(t, "S2", "hosts", cases, "wrong", foreign)
}

// statusOf sends a request as it stands.
func statusOf(t *testing.T, s *shop, request string) int {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	res.Body.Close()
	return res.StatusCode
}

// A host that is let in is one of ours by another reading of it, too.
func FuzzHosts(f *testing.F) {
	for line := range strings.Lines(hostCases) {
		_, host, _ := strings.Cut(strings.TrimSpace(line), " ")
		f.Add(host)
	}
	s := &Server{opt: Options{Hosts: []string{"wend.example"}}}
	f.Fuzz(func(t *testing.T, host string) {
		if !s.knownHost(host) {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil {
			t.Fatalf("%q: %v", host, err)
		}
		name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		ip, err := netip.ParseAddr(name)
		if name != "localhost" && name != "wend.example" && (err != nil || !ip.Unmap().IsLoopback()) {
			t.Errorf("%q, which is %q, is let in", host, name)
		}
	})
}

// Whether TLS, a proxy or nobody encrypts, pages elsewhere change nothing.
func TestOriginsThatMayChangeThings(t *testing.T) {
	s := open(t, Options{CORS: []string{"https://reports.example"}})
	own := s.URL
	f := func(origin, site string, want int) {
		t.Helper()
		header := []string{"Content-Type", "text/plain"}
		if origin != "" {
			header = append(header, "Origin", origin)
		}
		if site != "" {
			header = append(header, "Sec-Fetch-Site", site)
		}
		if r := s.do("POST", "/v1/query", "show events", header...); r.StatusCode != want {
			t.Errorf("origin %q, site %q: %s, want %d", origin, site, r.Status, want)
		}
		if r := s.do("GET", "/v1/query?q=show+events", "", header...); r.Header.Get("Access-Control-Allow-Origin") == "*" || (r.Header.Get("Access-Control-Allow-Origin") != "") != (origin == "https://reports.example") {
			t.Errorf("origin %q: Access-Control-Allow-Origin %q", origin, r.Header.Get("Access-Control-Allow-Origin"))
		}
	}
	f("", "", 200) // no browser
	f(own, "same-origin", 200)
	f(own, "", 200)
	f("", "none", 200)
	f("https://reports.example", "cross-site", 200)
	for _, origin := range []string{"https://evil.example", "null", "http://reports.example", "https://reports.example:8443", "https://reports.example.evil", "https://sub.reports.example", "https://Reports.example/"} {
		f(origin, "cross-site", 403)
		f(origin, "", 403)
	}
	f("", "cross-site", 403)
	f("", "same-site", 403)
	if err := CheckOrigins([]string{"https://reports.example", "http://localhost:3000"}); err != nil {
		t.Error(err)
	}
	for _, origin := range []string{"*", "https://*.example", "reports.example", "https://reports.example/", "https://reports.example/path", "null", "", "https://"} {
		if CheckOrigins([]string{origin}) == nil {
			t.Errorf("%q is taken for an exact origin", origin)
		}
	}
}
