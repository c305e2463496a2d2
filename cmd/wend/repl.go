package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"wend/repl"
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
			open := func() (repl.Database, func() error, error) { return remote.database(args[0]) }
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
