package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"wend/client"
	"wend/engine"
	"wend/repl"
)

// isURL reports whether DB names a server rather than a folder.
func isURL(db string) bool {
	return strings.HasPrefix(db, "http://") || strings.HasPrefix(db, "https://")
}

// openStore opens a folder. Reading does not need a writer's lock, and does not
// make a store where there is none.
func openStore(dir string, readOnly bool) (*engine.DB, error) {
	if readOnly {
		if _, err := os.Stat(dir); err != nil {
			return nil, mistake{fmt.Errorf("there is no store at %s; wend import %s FILE makes one", dir, dir)}
		}
	}
	return engine.Open(dir, engine.Options{ReadOnly: readOnly})
}

// remoteFlags are those of commands that also talk to a server.
type remoteFlags struct{ tokenFile string }

func (f *remoteFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "file that holds the token for a server")
}

// database opens what DB names, for reading: a folder or a server.
func (f *remoteFlags) database(db string) (d repl.Database, done func() error, err error) {
	if isURL(db) {
		c, err := f.client(db)
		return c, func() error { return nil }, err
	}
	store, err := openStore(db, true)
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}

func (f *remoteFlags) client(url string) (*client.Client, error) {
	opt := client.Options{}
	if f.tokenFile != "" {
		token, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, mistake{fmt.Errorf("read the token: %w", err)}
		}
		opt.Token = strings.TrimSpace(string(token))
	}
	return client.New(url, opt)
}
