package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wend/engine"
	"wend/event"
	"wend/ingest"
	"wend/storage"
	"wend/storage/vfs"
)

func statusCommand() *cobra.Command {
	var remote remoteFlags
	cmd := &cobra.Command{
		Use: "status DB", Short: "Tell what a store holds and what it costs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var st storage.Status
			if isURL(args[0]) {
				c, err := remote.client(args[0])
				if err != nil {
					return err
				}
				if st, err = c.Status(cmd.Context()); err != nil {
					return err
				}
			} else {
				db, err := openStore(args[0], reading)
				if err != nil {
					return err
				}
				defer db.Close()
				st = db.Status()
			}
			printStatus(cmd.OutOrStdout(), st)
			if len(st.Missing) > 0 {
				return errPartial
			}
			return nil
		},
	}
	remote.register(cmd)
	return cmd
}

func printStatus(out io.Writer, st storage.Status) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "events\t%d\n", st.Events)
	fmt.Fprintf(w, "customers\t%d\n", st.Customers)
	if st.Events > 0 {
		fmt.Fprintf(w, "from\t%s\n", st.From)
		fmt.Fprintf(w, "to\t%s\n", st.To)
	}
	fmt.Fprintf(w, "links\t%d\n", st.Links)
	fmt.Fprintf(w, "definitions\t%d\n", st.Definitions)
	if st.Partition == "" {
		fmt.Fprintf(w, "segments\t%d\n", len(st.Segments))
	} else {
		fmt.Fprintf(w, "segments\t%d, one or more a %s\n", len(st.Segments), st.Partition)
	}
	perEvent := func(n int64) string {
		if st.Events == 0 {
			return fmt.Sprintf("%d bytes", n)
		}
		return fmt.Sprintf("%d bytes\t%.3f an event", n, float64(n)/float64(st.Events))
	}
	fmt.Fprintf(w, "size\t%s\n", perEvent(st.Bytes))
	for _, c := range st.Columns {
		fmt.Fprintf(w, "  %s\t%s\n", c.Column, perEvent(c.Bytes))
	}
	fmt.Fprintf(w, "log\t%d bytes, %d events not yet in a segment\n", st.LogBytes, st.MemtableEvents)
	for _, i := range st.Imports {
		state := ""
		if i.Undone {
			state = ", undone"
		}
		fmt.Fprintf(w, "import %s\t%d events from %s, %s%s\n", i.ID, i.Events, i.Source, event.At(i.At), state)
	}
	for _, m := range st.Missing {
		fmt.Fprintf(w, "MISSING %s\t%d events from %s to %s: %s\n", m.Segment, m.Rows, m.From, m.To, m.Reason)
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check DB", Short: "Verify every byte of a store", Args: cobra.ExactArgs(1),
		Long: "Reads every file and compares it with its checksums, with the manifest and with itself. Changes nothing.",
		RunE: func(cmd *cobra.Command, args []string) error {
			db, err := openLocal(args[0], "check", reading)
			if err != nil {
				return err
			}
			defer db.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			report, err := db.Verify(ctx)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, d := range report.Damaged {
				fmt.Fprintf(out, "DAMAGED %s: %s\n", d.File, d.Reason)
			}
			fmt.Fprintf(out, "%d files, %d bytes read, %d damaged\n", report.Files, report.Bytes, len(report.Damaged))
			if len(report.Damaged) > 0 {
				return errPartial
			}
			return nil
		},
	}
}

func compactCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compact DB", Short: "Merge a store's segments", Args: cobra.ExactArgs(1),
		Long: "Writes what is only in the log to a segment and merges all segments of a time partition into one run. Answers stay as they are.",
		RunE: func(cmd *cobra.Command, args []string) error {
			db, err := openLocal(args[0], "compact", changing)
			if err != nil {
				return err
			}
			defer db.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			before := db.Status()
			if err := db.Compact(ctx); err != nil {
				return err
			}
			after := db.Status()
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d segments of %d bytes, before %d of %d\n", len(after.Segments), after.Bytes, len(before.Segments), before.Bytes)
			return err
		},
	}
}

func dumpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "dump FILE", Short: "Print a file of a store, annotated", Args: cobra.ExactArgs(1),
		Long: "Prints the bytes of a segment, a log or a manifest with their meaning.",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch info, err := os.Stat(args[0]); {
			case errors.Is(err, fs.ErrNotExist):
				return mistake{fmt.Errorf("dump: there is no file %s", args[0])}
			case err == nil && info.IsDir():
				return mistake{fmt.Errorf("dump: %s is a folder; name one of the files in it", args[0])}
			}
			return storage.Dump(cmd.OutOrStdout(), vfs.OS{}, args[0])
		},
	}
}

func exportCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export DB", Short: "Write all events to standard output", Args: cobra.ExactArgs(1),
		Long: "Writes every event, customer by customer in order of time, under the canonical identity. What it writes, wend import reads.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "csv" && output != "ndjson" {
				return mistake{fmt.Errorf("export writes csv or ndjson, not %q", output)}
			}
			db, err := openLocal(args[0], "export", reading)
			if err != nil {
				return err
			}
			defer db.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			err = export(ctx, db, output, cmd.OutOrStdout())
			if ctx.Err() != nil {
				return errors.New("export: interrupted; what was written is not everything")
			}
			if err == nil && len(db.Store().Summary().Missing) > 0 {
				return errPartial
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "csv", "csv or ndjson")
	return cmd
}

func export(ctx context.Context, db *engine.DB, format string, out io.Writer) error {
	schema, _, err := db.Schema()
	if err != nil {
		return err
	}
	w, err := ingest.NewWriter(out, format, schema.Known().Properties)
	if err != nil {
		return err
	}
	for e, err := range db.Events(ctx) {
		if err != nil {
			return err
		}
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return w.Flush()
}

func undoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "undo DB IMPORT-ID", Short: "Take one import back", Args: cobra.ExactArgs(2),
		Long: "Removes the events of one import from every answer. wend status lists the imports.",
		RunE: func(cmd *cobra.Command, args []string) error {
			db, err := openLocal(args[0], "undo", changing)
			if err != nil {
				return err
			}
			defer db.Close()
			n, err := db.Undo(cmd.Context(), strings.TrimSpace(args[1]))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d events taken back\n", n)
			return err
		},
	}
}
