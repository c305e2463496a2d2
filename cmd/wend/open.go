package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"wend/access"
	"wend/client"
	"wend/engine"
	"wend/repl"
	"wend/storage"
)

// isURL reports whether DB names a server rather than a folder.
func isURL(db string) bool {
	return strings.HasPrefix(db, "http://") || strings.HasPrefix(db, "https://")
}

// purpose is what a command wants of a store.
type purpose int

const (
	reading  purpose = iota // beside a writer, if there is one
	changing                // a store that is there
	making                  // a store that may be new
)

// openStore opens a folder. Only importing and serving make a store where
// there is none: with anything else the name is more likely mistyped. Whoever
// writes goes on with erasures that did not come to their end: a store that only
// short commands open would never be rid of them.
func openStore(dir string, want purpose) (*engine.DB, error) {
	db, err := openWith(dir, want, engine.Options{})
	if err != nil || want == reading {
		return db, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	waiting := db.Store().Summary().Erasing
	if waiting == 0 {
		return db, nil
	}
	fmt.Fprintf(os.Stderr, "%d erasures did not come to their end; that is done first\n", waiting)
	for worked := true; worked; {
		worked, err = db.Store().EraseStep(ctx)
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), db.Close())
		}
		if err != nil { // what the command is for may be what helps
			fmt.Fprintln(os.Stderr, "warning:", err)
			return db, nil
		}
	}
	return db, nil
}

// openWith opens a folder; without a logger, what is to be known of it goes to the
// error output.
func openWith(dir string, want purpose, opt engine.Options) (*engine.DB, error) {
	found, err := lookAt(dir)
	switch {
	case err != nil:
		return nil, err
	case found == nothing && want != making:
		return nil, noStore(dir)
	case found == otherThings && want != making:
		return nil, noStoreBut(dir)
	case found == otherThings:
		return nil, mistake{fmt.Errorf("%s holds other things already; name a folder for the store alone, such as %s", dir, filepath.Join(dir, "events.wend"))}
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(warnings{out: os.Stderr})
	}
	opt.ReadOnly = want == reading
	opt.Storage.AllowNetwork = os.Getenv("WEND_NETWORK_FS") == "1"
	return engine.Open(dir, opt)
}

// noStore says that there is nothing at a place, and what may have been meant.
func noStore(dir string) error {
	if _, port, err := net.SplitHostPort(dir); err == nil && port != "" {
		if _, err := os.Stat(dir); err != nil {
			return mistake{fmt.Errorf("there is no store at %s; if it is a server, write http://%s", dir, dir)}
		}
	}
	return mistake{fmt.Errorf("there is no store at %s; wend import %s FILE makes one", dir, dir)}
}

// noStoreBut says that a folder holds other things, and names a store among them.
func noStoreBut(dir string) error {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		inside := filepath.Join(dir, e.Name())
		if found, err := lookAt(inside); e.IsDir() && err == nil && found == aStore {
			return mistake{fmt.Errorf("%s is a folder, but no store; did you mean %s?", dir, inside)}
		}
	}
	return mistake{fmt.Errorf("%s is a folder, but no store", dir)}
}

// place is what stands where a store is looked for.
type place int

const (
	nothing place = iota // or an empty folder
	aStore
	otherThings
)

func lookAt(dir string) (place, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing, nil
	}
	if info, e := os.Stat(dir); e == nil && !info.IsDir() {
		return nothing, mistake{fmt.Errorf("a store is a folder, and %s is a file; DB comes first, then the rest", dir)}
	}
	if err != nil {
		return nothing, fmt.Errorf("open store %s: %w", dir, err)
	}
	found := nothing
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, "MANIFEST"), name == "RESTORING", strings.HasPrefix(name, "BACKUP"),
			strings.HasSuffix(name, ".seg"), strings.HasSuffix(name, ".wal"):
			return aStore, nil // or what was one, or was to become one: opening it tells
		case name != "LOCK" && name != access.FileName && name != access.LockName: // all that may be there before a store is begun
			found = otherThings
		}
	}
	return found, nil
}

// openLocal opens a folder for a command that servers have no call for.
func openLocal(db, command string, want purpose, opt ...storage.Options) (*engine.DB, error) {
	if isURL(db) {
		return nil, mistake{fmt.Errorf("a server has no call for wend %s; run it on the machine of %s with the folder that is served", command, db)}
	}
	if len(opt) > 0 {
		return openWith(db, want, engine.Options{Storage: opt[0]})
	}
	return openStore(db, want)
}

// remoteFlags are those of commands that also talk to a server.
type remoteFlags struct{ tokenFile, caFile string }

func (f *remoteFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "file that holds the token for a server")
	cmd.Flags().StringVar(&f.caFile, "ca-file", "", "file of the certificate that a server's rests on, where the system does not know it")
}

// database opens what DB names, for reading: a folder or a server.
func (f *remoteFlags) database(db string) (d repl.Database, done func() error, err error) {
	if isURL(db) {
		c, err := f.client(db)
		return c, func() error { return nil }, err
	}
	store, err := openStore(db, reading)
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}

func (f *remoteFlags) client(url string) (*client.Client, error) {
	opt := client.Options{}
	if f.tokenFile != "" {
		file, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, mistake{fmt.Errorf("read the token: %w", err)}
		}
		if opt.Token, err = access.ReadToken(file); err != nil {
			return nil, mistake{fmt.Errorf("read the token of %s: %w", f.tokenFile, err)}
		}
	}
	if f.caFile != "" {
		trusted, err := trusting(f.caFile)
		if err != nil {
			return nil, mistake{err}
		}
		opt.HTTP = trusted
	}
	c, err := client.New(url, opt)
	if err != nil {
		return nil, mistake{err}
	}
	return c, nil
}

// trusting is a client of servers whose certificate rests on one in a file.
func trusting(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("there is no certificate in %s", caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{Transport: transport}, nil
}
