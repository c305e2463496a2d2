package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"wend/engine"
	"wend/repl"
	"wend/storage"
)

func replCommand() *cobra.Command {
	var remote remoteFlags
	var write bool
	cmd := &cobra.Command{
		Use:   "repl DB",
		Short: "Ask questions interactively",
		Long:  "Opens the interactive loop on a folder, beside a running writer if there is one, or on a server. With --write it holds the store open for writing, so that define and drop work.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			open := func() (repl.Database, func() error, error) {
				db, done, err := remote.database(args[0])
				return hinting{db}, done, err
			}
			if write && !isURL(args[0]) {
				open = func() (repl.Database, func() error, error) {
					db, err := openStore(args[0], changing)
					if err != nil {
						return nil, nil, err
					}
					return db, db.Close, nil
				}
			}
			db, done, err := open()
			if err != nil {
				return err
			}
			defer done()
			return repl.Run(cmd.Context(), db, repl.Options{Name: args[0], Version: version, History: historyFile()})
		},
	}
	remote.register(cmd)
	cmd.Flags().BoolVar(&write, "write", false, "open for writing: define and drop work, and no other writer can open the store")
	return cmd
}

// hinting says how definitions can be made where they cannot.
type hinting struct{ repl.Database }

// Query names the flag in the error of a store that is only read.
func (h hinting) Query(ctx context.Context, text string, opts ...engine.QueryOption) (*engine.Result, error) {
	res, err := h.Database.Query(ctx, text, opts...)
	if errors.Is(err, storage.ErrReadOnly) {
		err = fmt.Errorf("%w; wend repl --write opens it for writing", err)
	}
	return res, err
}

// historyFile is where statements are kept between runs.
func historyFile() string {
	if f := os.Getenv("WEND_HISTORY"); f != "" {
		return f
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "wend", "history")
}
