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
	if st.Customers < 0 {
		fmt.Fprintln(w, "customers\tcould not be counted")
	} else {
		fmt.Fprintf(w, "customers\t%d\n", st.Customers)
	}
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
	if r := st.Retention; r != nil {
		fmt.Fprintf(w, "retention\t%s: events before %s are gone\n", r.For, r.Cutoff)
		if r.DroppedAt != 0 {
			fmt.Fprintf(w, "  last taken out\t%d events at %s, of %d in all\n", r.Dropped, r.DroppedAt, r.Total)
		}
		if r.Behind != "" {
			fmt.Fprintf(w, "  NOTE\tthe clock is %s ahead of the time that is trusted: old events go a tenth an hour\n", r.Behind)
		}
		if len(r.WaitsFor) > 0 {
			fmt.Fprintf(w, "  RETENTION WAITS\ta longer one begins when %s, set aside as damaged, is put back or given up with wend check --forget\n", strings.Join(r.WaitsFor, ", "))
		}
	}
	if st.Erasing > 0 {
		fmt.Fprintf(w, "ERASING\t%d erasures have not come to their end: their customers are in no answer, and in files still; the writer goes on with them\n", st.Erasing)
	}
	if st.DiskFull {
		fmt.Fprintln(w, "DISK FULL\tevents are refused until there is room")
	}
	if st.CompactionWaits != nil {
		fmt.Fprintf(w, "COMPACTION WAITS\t%s\n", st.CompactionWaits)
	}
	for _, i := range st.Imports {
		state := ""
		if i.Undone {
			state = ", undone"
		}
		fmt.Fprintf(w, "import %s\t%d events from %s, %s%s\n", i.ID, i.Events, i.Source, event.At(i.At), state)
	}
	if st.Notice != "" {
		fmt.Fprintf(w, "READ ONLY\t%s\n", st.Notice)
	}
	printMissing(w, st.Missing)
}

func printMissing(w io.Writer, list []storage.Missing) {
	for _, m := range list {
		fmt.Fprintf(w, "MISSING %s\n", engine.Missing(m))
	}
}

func checkCommand() *cobra.Command {
	var setAside, eraseAgain bool
	var forget []string
	cmd := &cobra.Command{
		Use: "check DB", Short: "Verify every byte of a store", Args: cobra.ExactArgs(1),
		Long: `Reads every file and compares it with its checksums, with the manifest and with itself. Changes nothing.

With --set-aside, what is damaged or cannot be read is moved to the folder quarantine of the store, and the rest
answers; queries do this themselves when they meet damage. Every answer names what is missing until a sound copy of the
file is put back into the store's folder, or --forget gives it up.

With --erase-again, a folder that is an older copy of the store and took events since is erased by its ledger: whoever
was erased after the copy was made goes again, with all that came of them since.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			want := reading
			if setAside || eraseAgain || len(forget) > 0 {
				want = changing
			}
			db, err := openLocal(args[0], "check", want, storage.Options{AcceptDamage: setAside, EraseAgain: eraseAgain})
			if err != nil {
				return err
			}
			defer db.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			if eraseAgain {
				for _, r := range db.Store().Receipts() {
					if _, err := db.WaitErased(ctx, r.ID); err != nil {
						return err
					}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d erasures are done\n", len(db.Store().Receipts()))
			}
			for _, file := range forget {
				m, err := db.Store().Forget(ctx, file)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "given up %s\n", engine.Missing(m))
			}
			report, err := db.Verify(ctx)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, d := range report.Damaged {
				fmt.Fprintf(out, "DAMAGED %s: %s\n", d.File, d.Reason)
				if setAside {
					db.Store().SetAside(&storage.DamageError{Segment: d.File, Err: errors.New(d.Reason)})
				}
			}
			fmt.Fprintf(out, "%d files, %d bytes read, %d damaged\n", report.Files, report.Bytes, len(report.Damaged))
			if len(report.Damaged) > 0 {
				return errPartial
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&setAside, "set-aside", false, "move what is damaged to the folder quarantine")
	cmd.Flags().BoolVar(&eraseAgain, "erase-again", false, "erase an older copy that took events since by its ledger")
	cmd.Flags().StringArrayVar(&forget, "forget", nil, "a file set aside that is given up: answers no longer name it as missing; may be repeated")
	return cmd
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
			before := db.Store().Summary()
			if err := db.Compact(ctx); err != nil {
				return err
			}
			after := db.Store().Summary()
			fmt.Fprintf(cmd.OutOrStdout(), "segments: %d of %d bytes, before %d of %d\n", len(after.Segments), after.Bytes, len(before.Segments), before.Bytes)
			if len(after.Missing) > 0 {
				printMissing(cmd.OutOrStdout(), after.Missing)
				return errPartial
			}
			return nil
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
	var remote remoteFlags
	var output string
	cmd := &cobra.Command{
		Use: "export DB", Short: "Write all events to standard output", Args: cobra.ExactArgs(1),
		Long: "Writes every event, customer by customer in order of time, under the canonical identity. What it writes, wend import reads.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "csv" && output != "ndjson" {
				return mistake{fmt.Errorf("export writes csv or ndjson, not %q", output)}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			if isURL(args[0]) {
				c, err := remote.client(args[0])
				if err != nil {
					return err
				}
				partial, err := c.Export(ctx, output, cmd.OutOrStdout())
				if err == nil && partial {
					return errPartial
				}
				return err
			}
			db, err := openStore(args[0], reading)
			if err != nil {
				return err
			}
			defer db.Close()
			err = export(ctx, db, output, cmd.OutOrStdout())
			if ctx.Err() != nil {
				return errors.New("export: interrupted; what was written is not everything")
			}
			if missing := db.Store().Summary().Missing; err == nil && len(missing) > 0 {
				printMissing(os.Stderr, missing)
				return errPartial
			}
			return err
		},
	}
	remote.register(cmd)
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
	return w.WriteAll(db.Events(ctx))
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
