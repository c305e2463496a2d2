package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateAfter is how long a changed certificate may go unnoticed.
const certificateAfter = time.Second

// Certificate is a server's certificate and key, in files that may be replaced
// while it serves: the next connection gets the new ones. Connections that are
// open keep theirs, and files that do not fit together are left alone.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	after             time.Duration

	mu     sync.Mutex
	looked time.Time
	seen   [2]os.FileInfo
	pair   *tls.Certificate
	failed string // the last complaint, to be made once
}

// LoadCertificate reads both files.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, after: certificateAfter}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// load reads the files if they are not those that were read last.
func (c *Certificate) load() error {
	var now [2]os.FileInfo
	changed := false
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		old := c.seen[i]
		changed = changed || old == nil || !os.SameFile(old, info) || old.Size() != info.Size() || !old.ModTime().Equal(info.ModTime())
		now[i] = info
	}
	if !changed {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read the certificate %s with the key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.seen = &pair, now
	return nil
}

// get returns the certificate for a new connection.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= c.after {
		c.looked = now
		before := c.pair
		err := c.load()
		switch {
		case err == nil && c.pair != before:
			c.log.Info("the certificate was replaced")
			c.failed = ""
		case err != nil && c.failed != err.Error():
			c.failed = err.Error()
			c.log.Error("the certificate cannot be replaced; the one before is kept", "error", err)
		}
	}
	return c.pair, nil
}

// Config is TLS 1.2 or later with Go's choice of ciphers. Only HTTP/1.1 is
// spoken: limits of a connection are then limits of a request.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get}
}
