package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wend/engine"
	"wend/storage"
)

// errUnrepaired ends a repair that only looked.
type errUnrepaired struct{ db string }

// Error says how to go on.
func (e errUnrepaired) Error() string {
	return fmt.Sprintf("nothing was changed; `wend repair %s --write` makes it so. If there is a backup, `wend restore` gives back what is lost", e.db)
}

func repairCommand() *cobra.Command {
	var how storage.RepairOptions
	cmd := &cobra.Command{
		Use: "repair DB", Short: "Save a store whose manifest is damaged beyond its copy", Args: cobra.ExactArgs(1),
		Long: "For a store that cannot be opened because its manifest is missing, or damaged at the same place in both its files. " +
			"Puts together the edits that can be read and what the segments say of themselves, and tells what the store would be: " +
			"what it holds, what is set aside and why, and what cannot be known any more. Changes nothing.\n\n" +
			"With --write it becomes that store. The damaged files and those that were replaced stay in the folder quarantine; " +
			"what may be doubled or erased is set aside, never shown. Customers whose erasure is no longer in the manifest are erased again: " +
			"the ledger beside the store tells who. A store that can be opened has nothing to repair; wend check looks for other damage.",
		Example: `  wend repair shop.wend
  wend repair shop.wend --write`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if isURL(dir) {
				return mistake{fmt.Errorf("a server has no call for wend repair; stop it, and run it with the folder that it serves")}
			}
			switch found, err := lookAt(dir); {
			case err != nil:
				return err
			case found == nothing:
				return mistake{fmt.Errorf("there is no store at %s", dir)}
			case found == otherThings:
				return noStoreBut(dir)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			done, err := storage.Repair(ctx, dir, storage.Options{AllowNetwork: os.Getenv("WEND_NETWORK_FS") == "1"}, how)
			out := cmd.OutOrStdout()
			if done.Written || err == nil {
				printRepaired(out, done)
			}
			switch {
			case errors.Is(err, storage.ErrNoLedger):
				return mistake{err}
			case err != nil:
				return err
			case done.Sound:
				return nil
			case !done.Written:
				return errUnrepaired{dir}
			case len(done.Missing) > 0:
				return errPartial
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&how.Write, "write", false, "make it so")
	cmd.Flags().StringVar(&how.Ledger, "ledger", "", "file that tells who was erased (default: beside DB, its name with .erased)")
	cmd.Flags().BoolVar(&how.WithoutLedger, "without-ledger", false, "go on without the ledger of a store that had erasures")
	return cmd
}

func printRepaired(out io.Writer, d storage.Repaired) {
	if d.Sound {
		fmt.Fprintln(out, "nothing to repair: the manifest can be read")
		return
	}
	for _, x := range d.Damage {
		fmt.Fprintf(out, "DAMAGED %s: %s\n", x.File, x.Reason)
	}
	fmt.Fprintf(out, "%d edits can be read", d.Edits)
	if d.Restored > 0 {
		fmt.Fprintf(out, ", %d of them put together from both files", d.Restored)
	}
	if len(d.Lost) > 0 {
		fmt.Fprintf(out, "; lost are %s", strings.Join(d.Lost, ", "))
	}
	store := "\n\nthe store would have"
	if d.Written {
		store = "\n\nthe store has"
	}
	fmt.Fprintln(out, store)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  events\t%d\n", d.Events)
	if d.Events > 0 {
		fmt.Fprintf(w, "  from\t%s\n  to\t%s\n", d.From, d.To)
	}
	found := 0
	for _, s := range d.Segments {
		if s.Found {
			found++
		}
	}
	fmt.Fprintf(w, "  segments\t%d, of which %d are known by their own footers only\n", len(d.Segments), found)
	for _, s := range d.Segments {
		if s.Found {
			fmt.Fprintf(w, "    %s\t%d events from %s to %s, batches %d to %d\n", s.File, s.Events, s.From, s.To, s.FirstLSN, s.LastLSN)
		}
	}
	fmt.Fprintf(w, "  links\t%d\n  definitions\t%d\n", d.Links, d.Definitions)
	for _, i := range d.Imports {
		state := ""
		if i.Undone {
			state = ", undone"
		}
		fmt.Fprintf(w, "  import %s\t%d events from %s%s\n", i.ID, i.Events, i.Source, state)
	}
	switch {
	case d.NoLedger:
		fmt.Fprintf(w, "  erased again\tnobody: there is no ledger at %s\n", d.Ledger)
	case d.Erased > 0:
		fmt.Fprintf(w, "  erased again\t%d erasures that only %s has\n", d.Erased, d.Ledger)
	}
	if d.Raised {
		fmt.Fprintf(w, "  format\t%d: an older one has no room for what is missing\n", storage.FormatVersion)
	}
	w.Flush()
	for _, m := range d.Aside {
		fmt.Fprintf(out, "SET ASIDE %s\n", engine.Missing(m))
	}
	for _, m := range d.Missing {
		if !named(d.Aside, m) {
			fmt.Fprintf(out, "MISSING %s\n", engine.Missing(m))
		}
	}
	if len(d.Replaced) > 0 {
		fmt.Fprintf(out, "moved to the folder quarantine, because others hold what is in them: %s\n", strings.Join(d.Replaced, ", "))
	}
	if len(d.Unknown) > 0 {
		fmt.Fprintln(out, "\ncannot be known any more")
		for _, u := range d.Unknown {
			fmt.Fprintf(out, "  %s\n", u)
		}
	}
}

func named(list []storage.Missing, m storage.Missing) bool {
	for _, x := range list {
		if x.Segment == m.Segment {
			return true
		}
	}
	return false
}
