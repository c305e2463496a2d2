package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"wend/storage"
)

// linker is what keeps links: an open store or a server.
type linker interface {
	LinkAll(ctx context.Context, links []storage.Link) error
	Unlink(ctx context.Context, from string) error
}

// linker opens what DB names for changing its links.
func (f *remoteFlags) linker(db string) (linker, func() error, error) {
	if isURL(db) {
		c, err := f.client(db)
		return c, func() error { return nil }, err
	}
	store, err := openStore(db, changing)
	if err != nil {
		return nil, nil, err
	}
	return store.Store(), store.Close, nil
}

func linkCommand() *cobra.Command {
	var remote remoteFlags
	var file string
	cmd := &cobra.Command{
		Use:   "link DB ANON CUSTOMER | link DB -f FILE",
		Short: "Say that an anonymous identity is a customer",
		Long: `From now on the events of ANON, past and future, belong to CUSTOMER in every answer.
With -f, links come from a CSV file of two columns, from and to; - is standard input. A header of these two
names says which is which. Without it from is first, and the first row is a link, too, which the command then names.
All of them are made, or none. wend unlink undoes one.`,
		Example: `  wend link shop.wend anon-00017 C00042
  wend link shop.wend -f logins.csv`,
		Args: func(_ *cobra.Command, args []string) error {
			if file == "" && len(args) != 3 || file != "" && len(args) != 1 {
				return errors.New("one link or a file of links")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var links []storage.Link
			header := false
			if file == "" {
				links = []storage.Link{{From: args[1], To: args[2]}}
			} else {
				var err error
				if links, header, err = readLinks(file, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			l, done, err := remote.linker(args[0])
			if err != nil {
				return err
			}
			defer done()
			if err := l.LinkAll(cmd.Context(), links); err != nil {
				return err
			}
			if file == "" {
				return nil
			}
			if !header && len(links) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "there is no header from,to: the first row is a link, %q to %q\n", links[0].From, links[0].To)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d links made or there already\n", len(links))
			return err
		},
	}
	remote.register(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "CSV file of links: from, to")
	return cmd
}

// readLinks reads a file of links. Its first row may be a header: from and to,
// in the order of the columns.
func readLinks(path string, stdin io.Reader) (links []storage.Link, header bool, err error) {
	in, name := stdin, "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, false, mistake{fmt.Errorf("read the links of %s: %w", path, errors.Unwrap(err))}
		}
		defer f.Close()
		in, name = f, path
	}
	text := bufio.NewReader(in)
	if mark, _, _ := text.ReadRune(); mark != '\ufeff' {
		text.UnreadRune()
	}
	r := csv.NewReader(text)
	r.FieldsPerRecord = -1
	from, to := 0, 1
	for first := true; ; first = false {
		row, err := r.Read()
		if err == io.EOF {
			return links, header, nil
		}
		if err != nil {
			return nil, false, mistake{fmt.Errorf("read the links of %s: %w", name, err)}
		}
		if first && len(row) == 2 {
			switch strings.ToLower(strings.TrimSpace(row[0]) + "," + strings.TrimSpace(row[1])) {
			case "to,from":
				from, to = 1, 0
				fallthrough
			case "from,to":
				header = true
				continue
			}
		}
		if line, _ := r.FieldPos(0); len(row) != 2 || row[0] == "" || row[1] == "" {
			return nil, false, mistake{fmt.Errorf("read the links of %s: line %d is not two names, from and to; nothing was linked", name, line)}
		}
		links = append(links, storage.Link{From: row[from], To: row[to]})
	}
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
		Long: `Lists all links, one a line: from, a tab, to. A name that has a tab, a line's end or another character that is not
printed, or that begins with a quote, stands in double quotes: "a\tb".`,
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
			store, err := openStore(args[0], reading)
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
		if _, err := fmt.Fprintf(out, "%s\t%s\n", onOneLine(l.From), onOneLine(l.To)); err != nil {
			return err
		}
	}
	return nil
}

// onOneLine quotes a name that would be taken for more, or for a quoted one.
func onOneLine(name string) string {
	if strings.HasPrefix(name, `"`) || strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
