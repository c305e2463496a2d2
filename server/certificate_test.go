package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wend/internal/selfsigned"
	"wend/internal/trust"
)

// encrypted serves a shop over TLS; the files may be replaced.
type encrypted struct {
	*shop
	certFile, keyFile string
	address           string
	log               *lockedBuffer
}

func openTLS(t *testing.T) *encrypted {
	t.Helper()
	dir := t.TempDir()
	s := &encrypted{shop: open(t, Options{}), certFile: dir + "/cert.pem", keyFile: dir + "/key.pem", log: &lockedBuffer{}}
	s.renew(t)
	c, err := LoadCertificate(s.certFile, s.keyFile, slog.New(slog.NewTextHandler(s.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.after = 0
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(ctx, l, c.Config()) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *encrypted) renew(t *testing.T) {
	t.Helper()
	if err := selfsigned.Write(s.certFile, s.keyFile); err != nil {
		t.Fatal(err)
	}
}

func (s *encrypted) dial(config *tls.Config) (*tls.Conn, error) {
	return tls.Dial("tcp", s.address, config)
}

// serial names the certificate that a new connection is given.
func (s *encrypted) serial(t *testing.T) string {
	t.Helper()
	c, err := s.dial(&tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestVersionsOfTLS(t *testing.T) {
	s := openTLS(t)
	f := func(version uint16, want bool) {
		t.Helper()
		c, err := s.dial(&tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err == nil {
			c.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	f(tls.VersionTLS10, false)
	f(tls.VersionTLS11, false)
	f(tls.VersionTLS12, true)
	f(tls.VersionTLS13, true)
	res, err := http.Get("http://" + s.address + "/v1/schema")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != 400 || strings.Contains(string(body), "events") {
		t.Errorf("plain text is answered %s %s", res.Status, body)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestCertificatesThatAreReplaced(t *testing.T) {
	s := openTLS(t)
	first := s.serial(t)
	s.renew(t)
	second := s.serial(t)
	if second == first {
		t.Error("a new certificate is not noticed")
	}
	// Half of a change, and files that are none: the pair before is kept.
	key, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s.renew(t)
	for _, content := range [][]byte{key, nil, []byte("nonsense")} {
		if err := os.WriteFile(s.keyFile, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.serial(t); got != second {
			t.Errorf("with the key %.20q a connection gets certificate %s", content, got)
		}
	}
	if err := os.Remove(s.keyFile); err != nil {
		t.Fatal(err)
	}
	if got := s.serial(t); got != second {
		t.Error("without a key file a connection gets another certificate")
	}
	s.renew(t)
	if got := s.serial(t); got == second {
		t.Error("after a mistake that was mended a new certificate is not noticed")
	}
	if log := s.log.String(); strings.Count(log, "was replaced") != 2 || !strings.Contains(log, "the one before is kept") {
		t.Errorf("the log says %s", log)
	}
	if _, err := LoadCertificate(s.certFile, "/nowhere", nil); err == nil {
		t.Error("a server starts without a key")
	}
}

// No request is lost while the certificate changes a hundred times.
func TestReloadsUnderLoad(t *testing.T) {
	s := openTLS(t)
	reloads := int(trust.Number("WEND_RELOADS", 100))
	if testing.Short() {
		reloads = 10
	}
	var sent, dropped atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		clients.Go(func() {
			// Half of them keep their connection, the others open one each time.
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for {
				select {
				case <-stop:
					return
				default:
				}
				sent.Add(1)
				res, err := client.Get("https://" + s.address + "/healthz")
				if err == nil {
					var body []byte
					if body, err = io.ReadAll(res.Body); string(body) != "ok\n" {
						err = fmt.Errorf("%s %q, %v", res.Status, body, err)
					}
					res.Body.Close()
				}
				if err != nil {
					dropped.Add(1)
					t.Error(err)
				}
			}
		})
	}
	seen := map[string]bool{s.serial(t): true}
	for range reloads {
		s.renew(t)
		before := sent.Load()
		for sent.Load() < before+4 { // requests in between
			runtime.Gosched()
		}
		seen[s.serial(t)] = true
	}
	close(stop)
	clients.Wait()
	if len(seen) != reloads+1 {
		t.Errorf("%d certificates were seen, want %d", len(seen), reloads+1)
	}
	trust.Report(t, "S5", "reloads", reloads, "requests", sent.Load(), "dropped", dropped.Load())
}

// A client that checks its server is given what it can check.
func TestCertificateIsVerified(t *testing.T) {
	s := openTLS(t)
	cert, err := os.ReadFile(s.certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	c, err := s.dial(&tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c, err := s.dial(&tls.Config{}); err == nil {
		c.Close()
		t.Error("a certificate that nobody knows is believed")
	}
}
