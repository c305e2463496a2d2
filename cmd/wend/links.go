package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wend/storage"
)

// linker is what keeps links: an open store or a server.
type linker interface {
	Link(ctx context.Context, from, to string) error
	Unlink(ctx context.Context, from string) error
}

// writer opens what DB names for changing its links.
func (f *remoteFlags) linker(db string) (linker, func() error, error) {
	if isURL(db) {
		c, err := f.client(db)
		return c, func() error { return nil }, err
	}
	store, err := openStore(db, false)
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}

func linkCommand() *cobra.Command {
	var remote remoteFlags
	cmd := &cobra.Command{
		Use:   "link DB ANON CUSTOMER",
		Short: "Say that an anonymous identity is a customer",
		Long:  "From now on the events of ANON, past and future, belong to CUSTOMER in every answer. wend unlink undoes it.",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, done, err := remote.linker(args[0])
			if err != nil {
				return err
			}
			defer done()
			return l.Link(cmd.Context(), args[1], args[2])
		},
	}
	remote.register(cmd)
	return cmd
}

func unlinkCommand() *cobra.Command {
	var remote remoteFlags
	cmd := &cobra.Command{
		Use: "unlink DB ANON", Short: "Undo a link", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, done, err := remote.linker(args[0])
			if err != nil {
				return err
			}
			defer done()
			return l.Unlink(cmd.Context(), args[1])
		},
	}
	remote.register(cmd)
	return cmd
}

func linksCommand() *cobra.Command {
	var remote remoteFlags
	cmd := &cobra.Command{
		Use: "links DB", Short: "List all links, one a line: from, a tab, to", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isURL(args[0]) {
				c, err := remote.client(args[0])
				if err != nil {
					return err
				}
				links, err := c.Links(cmd.Context())
				if err != nil {
					return err
				}
				return printLinks(cmd.OutOrStdout(), links)
			}
			store, err := openStore(args[0], true)
			if err != nil {
				return err
			}
			defer store.Close()
			return printLinks(cmd.OutOrStdout(), store.Links())
		},
	}
	remote.register(cmd)
	return cmd
}

func printLinks(out io.Writer, links []storage.Link) error {
	for _, l := range links {
		if _, err := fmt.Fprintf(out, "%s\t%s\n", l.From, l.To); err != nil {
			return err
		}
	}
	return nil
}
