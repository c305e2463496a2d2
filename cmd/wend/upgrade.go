package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func upgradeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "upgrade DB", Short: "Raise a store to this release's format", Args: cobra.ExactArgs(1),
		Long: "Raises a store to the newest format that this release knows. There is no way back: releases that do not know the format refuse the store from then on. " +
			"A store that is never upgraded keeps its format, and every release that knows it goes on opening it. Answers stay as they are.",
		RunE: func(cmd *cobra.Command, args []string) error {
			db, err := openLocal(args[0], "upgrade", changing)
			if err != nil {
				return err
			}
			from, to, err := db.Upgrade(cmd.Context())
			if e := db.Close(); err == nil {
				err = e
			}
			if err != nil {
				return err
			}
			if from == to {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has format %d already, the newest of this release\n", args[0], to)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s raised from format %d to %d; releases that do not know format %d refuse it from now on\n", args[0], from, to, to)
			return err
		},
	}
}
