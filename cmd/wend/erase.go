package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"wend/storage"
)

func eraseCommand() *cobra.Command {
	var remote remoteFlags
	var later string
	var lift bool
	cmd := &cobra.Command{
		Use: "erase DB CUSTOMER", Short: "Erase a customer, and every identity linked to it, for good", Args: cobra.ExactArgs(2),
		Long: `From the moment the erasure is recorded no answer shows an event of CUSTOMER, or of an identity that is linked to it.
Then every file that holds something of them is written anew, and the old ones go. The command waits for that, and prints a
receipt, which names nobody. Interrupted, the rest is done when the store is opened next.

With --after suppress, events that arrive under these names later are refused; a keyed hash of the names stays for that.
A later erasure does not change it, whatever its --after says, and its receipt says so. --lift does.

A file beside the store, DB.erased, holds such hashes, too: wend restore erases by it what an older backup still has.`,
		Example: `  wend erase shop.wend C00042
  wend erase http://127.0.0.1:7171 C00042 --after suppress`,
		RunE: func(cmd *cobra.Command, args []string) error {
			after, ok := storage.ParseAfter(later)
			if !ok {
				return mistake{fmt.Errorf("--after %s: write allow or suppress", later)}
			}
			if args[1] == "" {
				return mistake{errors.New("the customer has no name")}
			}
			if lift && after == storage.Suppress {
				return mistake{errors.New("--lift lets later events count, and --after suppress refuses them: use one of them")}
			}
			receipt, err := erase(cmd.Context(), &remote, args[0], args[1], storage.EraseOptions{After: after, Lift: lift})
			if receipt.ID != "" {
				err = errors.Join(err, printReceipt(cmd.OutOrStdout(), receipt))
			}
			return err
		},
	}
	remote.register(cmd)
	cmd.Flags().StringVar(&later, "after", "allow", "later events of the customer: allow them to count, or suppress them")
	cmd.Flags().BoolVar(&lift, "lift", false, "let later events count although an earlier erasure suppresses the customer")
	return cmd
}

// erase returns when the customer is gone, or with what is known by then.
func erase(ctx context.Context, remote *remoteFlags, db, customer string, opt storage.EraseOptions) (storage.Receipt, error) {
	if isURL(db) {
		c, err := remote.client(db)
		if err != nil {
			return storage.Receipt{}, err
		}
		receipt, err := c.Erase(ctx, customer, opt)
		if err != nil {
			return receipt, err
		}
		return c.WaitErased(ctx, receipt.ID)
	}
	store, err := openStore(db, changing)
	if err != nil {
		return storage.Receipt{}, err
	}
	receipt, err := store.EraseWith(ctx, customer, opt)
	if err == nil {
		receipt, err = store.WaitErased(ctx, receipt.ID)
	}
	return receipt, errors.Join(err, store.Close())
}

// printReceipt writes a receipt as JSON, which is kept, and says on the error
// output what needs attention.
func printReceipt(out io.Writer, r storage.Receipt) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}
