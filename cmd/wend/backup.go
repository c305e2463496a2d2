package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

func backupCommand() *cobra.Command {
	var remote remoteFlags
	var keep string
	cmd := &cobra.Command{
		Use: "backup DB DIR", Short: "Copy a store while it is used", Args: cobra.ExactArgs(2),
		Long: "Copies the store as it is now, with every batch up to now, into a folder: a new one, or one with an earlier backup of the store, " +
			"which then gets only what is new and stays whole until that is complete. Writers and queries go on. " +
			"Where DB is a server, DIR is a name in the folder that it was started with as --backup-dir.\n\n" +
			"Segments are linked if the folder is on the store's device, and copied if not. A link protects from mistakes, not from the end of the device.",
		Example: `  wend backup shop.wend /backups/shop
  wend backup http://127.0.0.1:7171 nightly --token-file admin.txt
  wend backup verify /backups/shop
  wend backup list /backups`,
		RunE: func(cmd *cobra.Command, args []string) error {
			span, err := event.ParseDuration(keep)
			if err != nil || span <= 0 {
				return mistake{fmt.Errorf("--keep %q is not a time span such as 30d", keep)}
			}
			opt := storage.BackupOptions{Keep: time.Duration(span) * time.Microsecond}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			var b storage.Backup
			if isURL(args[0]) {
				c, err := remote.client(args[0])
				if err != nil {
					return err
				}
				if b, err = c.Backup(ctx, args[1], opt); err != nil {
					return err
				}
			} else {
				if inside(args[1], args[0]) {
					return mistake{fmt.Errorf("%s is the store itself, or a folder in it; name another folder", args[1])}
				}
				db, err := openStore(args[0], reading)
				if err != nil {
					return err
				}
				defer db.Close()
				if b, err = db.Backup(ctx, args[1], opt); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d events up to LSN %d in %d files of %d bytes: %d linked, %d copied, %d there already; keep until %s\n",
				b.Events, b.LSN, len(b.Files), b.Bytes, b.Linked, b.Copied, b.Kept, b.Expires.Format(time.DateOnly))
			return err
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "30d", "how long the backup is meant to be kept; wend backup list warns afterwards")
	remote.register(cmd)
	cmd.AddCommand(
		&cobra.Command{
			Use: "verify DIR", Short: "Read a backup whole and compare it with its checksums", Args: asMistake(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error { return verifyBackup(cmd, args[0]) },
		},
		&cobra.Command{
			Use: "list DIR", Short: "List the backups in a folder", Args: asMistake(cobra.ExactArgs(1)),
			Long: "Lists the backup that a folder is, or the backups in it, and warns of those that are kept for longer than was meant: what is erased from the store is still in them.",
			RunE: func(cmd *cobra.Command, args []string) error { return listBackups(cmd, args[0]) },
		},
	)
	return cmd
}

func verifyBackup(cmd *cobra.Command, dir string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	report, err := storage.VerifyBackup(ctx, vfs.OS{}, dir)
	if err != nil {
		return fmt.Errorf("verify %s: %w", dir, err)
	}
	out := cmd.OutOrStdout()
	for _, d := range report.Damaged {
		fmt.Fprintf(out, "DAMAGED %s: %s\n", d.File, d.Reason)
	}
	fmt.Fprintf(out, "%d files, %d bytes read, %d damaged; %d events up to LSN %d, made %s\n",
		len(report.Files), report.Bytes, len(report.Damaged), report.Events, report.LSN, report.Made.Format(time.RFC3339))
	warnOfAge(cmd.ErrOrStderr(), dir, report.BackupList)
	if len(report.Damaged) > 0 {
		return fmt.Errorf("verify %s: %w: this backup cannot be restored", dir, storage.ErrCorrupt)
	}
	return nil
}

func listBackups(cmd *cobra.Command, dir string) error {
	found, unreadable, err := storage.FindBackups(vfs.OS{}, dir)
	if err != nil {
		return fmt.Errorf("list backups: %w", err)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "backup\tmade\tkeep until\tevents\tLSN\tstore")
	for _, at := range slices.Sorted(maps.Keys(found)) {
		b := found[at]
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\n", at, b.Made.Format(time.RFC3339), b.Expires.Format(time.DateOnly), b.Events, b.LSN, b.Store)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, at := range slices.Sorted(maps.Keys(found)) {
		warnOfAge(cmd.ErrOrStderr(), at, found[at])
	}
	for _, at := range slices.Sorted(maps.Keys(unreadable)) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s cannot be read: %v\n", at, unreadable[at])
	}
	if len(unreadable) > 0 {
		return errors.New("not every backup can be read")
	}
	return nil
}

// warnOfAge says that a backup is older than it was meant to be.
func warnOfAge(w io.Writer, dir string, b storage.BackupList) {
	if now := time.Now(); now.After(b.Expires) {
		fmt.Fprintf(w, "%s is %d days old and was to be kept until %s; what was erased from the store since is still in it\n",
			dir, int(now.Sub(b.Made).Hours()/24), b.Expires.Format(time.DateOnly))
	}
}

func restoreCommand() *cobra.Command {
	var how storage.RestoreOptions
	cmd := &cobra.Command{
		Use: "restore DIR DB", Short: "Make a store of a backup", Args: cobra.ExactArgs(2),
		Long: "Verifies a backup and makes a store of it, in a folder that is new or empty. The backup stays as it is. " +
			"Customers who were erased since it was made are erased again: the ledger beside the old store tells who. " +
			"A restore that was interrupted is begun anew by the same command; until it is complete nobody opens the store.",
		Example: `  wend restore /backups/shop shop.wend
  wend restore /backups/shop again.wend --ledger shop.wend.erased`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if isURL(args[0]) || isURL(args[1]) {
				return mistake{errors.New("restore takes two folders: a backup, and the store that is made of it")}
			}
			if inside(args[1], args[0]) {
				return mistake{fmt.Errorf("%s is the backup itself, or a folder in it; name another folder", args[1])}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			b, err := engine.Restore(ctx, args[0], args[1], engine.Options{}, how)
			if err != nil {
				return err
			}
			said := cmd.ErrOrStderr()
			switch {
			case !b.Applied:
				fmt.Fprintf(said, "there is no ledger of erasures at %s; if customers were erased since the backup was made, they are back: name the ledger with --ledger, or erase them again\n", b.Ledger)
			case b.Erased.New == 1:
				fmt.Fprintf(said, "1 erasure of %s was done again\n", b.Ledger)
			case b.Erased.New > 0:
				fmt.Fprintf(said, "%d erasures of %s were done again\n", b.Erased.New, b.Ledger)
			default:
				fmt.Fprintf(said, "%s has no erasures that the backup does not know\n", b.Ledger)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d events up to LSN %d, as of %s, in %s\n", b.Stored, b.LSN, b.Made.Format(time.RFC3339), args[1])
			return err
		},
	}
	cmd.Flags().StringVar(&how.Ledger, "ledger", "", "file that tells what was erased since (default: beside DB, its name with .erased)")
	return cmd
}

// inside reports whether a folder, which need not be there yet, is another one
// or lies in it, by whatever names and links the two are reached.
func inside(dir, of string) bool {
	rest, err := filepath.Rel(vfs.OS{}.Resolve(of), vfs.OS{}.Resolve(dir))
	return err == nil && rest != ".." && !strings.HasPrefix(rest, "../")
}
