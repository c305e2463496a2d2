package server

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Exposure is what stands between a server and those who can reach its address.
type Exposure struct {
	Tokens   bool // callers need one
	TLS      bool // connections are encrypted by the server
	Proxy    bool // or by a proxy in front of it
	Insecure bool // or not, and somebody said that this is meant
}

// CheckExposure says whether an address may be listened on. Loopback addresses
// may; what others can reach needs tokens, and encryption to keep them.
func CheckExposure(address string, e Exposure) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen on %q: write host:port, such as 127.0.0.1:7171", address)
	}
	switch {
	case isLoopback(canonicalHost(host)):
		return nil
	case !e.Tokens:
		return fmt.Errorf("listen on %q: others can reach it, and nothing asks who they are; make a token first: wend token DB create, or listen on 127.0.0.1", address)
	case !e.TLS && !e.Proxy && !e.Insecure:
		return fmt.Errorf("listen on %q: tokens and answers would cross the network in plain text; give --tls-cert and --tls-key, or --behind-tls-proxy where a proxy encrypts, or --insecure", address)
	}
	return nil
}

// isLoopback reports whether a host in canonical form is this machine and nothing else.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback()
}

// hostOf takes the host out of what a request is addressed to, host or
// host:port, in the one form in which hosts are compared; "" if it is none.
func hostOf(hostport string) string {
	host, port := hostport, ""
	if rest, ok := strings.CutPrefix(hostport, "["); ok { // brackets hold an IPv6 address and nothing else
		if host, port, ok = strings.Cut(rest, "]"); !ok || !strings.Contains(host, ":") {
			return ""
		}
		if port != "" && port[0] != ':' {
			return ""
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		host, port, _ = strings.Cut(hostport, ":")
	}
	if strings.Trim(port, "0123456789") != "" {
		return ""
	}
	return canonicalHost(host)
}

func canonicalHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		return ip.Unmap().String()
	}
	if strings.ContainsAny(host, ":%") {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// knownHost reports whether a request is addressed to this server: by a
// loopback name, or by one that Options lists.
func (s *Server) knownHost(hostport string) bool {
	host := hostOf(hostport)
	if host == "" {
		return false
	}
	if isLoopback(host) {
		return true
	}
	for _, h := range s.opt.Hosts {
		if canonicalHost(strings.Trim(h, "[]")) == host {
			return true
		}
	}
	return false
}

// CheckHost checks what Hosts may list: a name or an address, as a request's
// header has it, without a port.
func CheckHost(host string) error {
	bare := host
	if strings.HasPrefix(host, "[") {
		bare = strings.Trim(host, "[]")
	}
	if name := canonicalHost(bare); name == "" || strings.ContainsAny(name, "/?#@*, \t\"'<>\\[]") {
		return fmt.Errorf("%q is no name of a host; write it without scheme, port and path, such as wend.example.com", host)
	}
	return nil
}

// CheckOrigins checks what CORS may list: origins as browsers send them, each
// by itself and never a pattern.
func CheckOrigins(origins []string) error {
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || o != u.Scheme+"://"+u.Host || strings.Contains(o, "*") {
			return fmt.Errorf("%q is not an origin; write it as a browser sends it, such as https://dash.example.com", o)
		}
	}
	return nil
}
