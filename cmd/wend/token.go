package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wend/access"
	"wend/event"
	"wend/storage/vfs"
)

func tokenCommand() *cobra.Command {
	var scope, expires, name string
	cmd := &cobra.Command{
		Use:   "token DB create|list|revoke [ID]",
		Short: "Make, list and revoke tokens for a server",
		Long: `Tokens say who may do what at wend serve. From the first one on, every call needs one.

create prints a new token, once: only a digest of it is kept, in the file TOKENS of DB. Its scopes are any of
  ingest   send events and links
  query    ask, see the schema and the status
  export   read every event as it is stored
  erase    erase customers
  admin    change definitions, end others' queries, back up, see the status and the metrics
  metrics  see the metrics
No scope includes another. list shows all tokens but not their text. revoke ends one; a running server refuses it within a second.

Clients send it with --token-file, or in the header Authorization: Bearer TOKEN.`,
		Example: `  wend token shop.wend create --scope query,ingest --expires 90d > token.txt
  wend query https://wend.example.com 'show events' --token-file token.txt
  wend token shop.wend list
  wend token shop.wend revoke 4be1d0a7`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 2 && (args[1] == "create" || args[1] == "list") || len(args) == 3 && args[1] == "revoke" {
				return nil
			}
			return errors.New("usage")
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"create", "list", "revoke"}, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if isURL(dir) {
				return mistake{fmt.Errorf("a server has no call for wend token; run it on the machine of %s with the folder that is served", dir)}
			}
			found, err := lookAt(dir)
			if err != nil {
				return err
			}
			if found == otherThings {
				return noStoreBut(dir)
			}
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && args[1] != "create" {
				return noStore(dir)
			}
			switch args[1] {
			case "create":
				return createToken(cmd.OutOrStdout(), dir, name, scope, expires)
			case "list":
				return listTokens(cmd.OutOrStdout(), dir)
			}
			if err := access.Revoke(vfs.OS{}, dir, args[2], time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "token %s is revoked\n", args[2])
			return nil
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "", "what the token may do: "+access.JoinScopes(access.Scopes, ", ")+"; parted by commas")
	cmd.Flags().StringVar(&expires, "expires", "", "how long the token holds, such as 90d or 12h (default: until it is revoked)")
	cmd.Flags().StringVar(&name, "name", "", "what the token is for, shown by list")
	return cmd
}

// createToken prints the token alone on standard output, so that a shell can
// put it into a file, and what there is to say about it elsewhere.
func createToken(out io.Writer, dir, name, scope, expires string) error {
	if scope == "" {
		return mistake{fmt.Errorf("say what the token may do with --scope: %s", access.JoinScopes(access.Scopes, ", "))}
	}
	scopes, err := access.ParseScopes(scope)
	if err != nil {
		return mistake{err}
	}
	now := time.Now()
	var end time.Time
	if expires != "" {
		holds, err := event.ParseDuration(expires)
		if err != nil || holds <= 0 {
			return mistake{fmt.Errorf("--expires %q is not a time span such as 90d or 12h", expires)}
		}
		end = event.At(now).Add(holds).Std().Truncate(time.Second)
	}
	token, e, err := access.Create(vfs.OS{}, dir, name, scopes, now, end)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, token.Reveal())
	until := "until it is revoked"
	if !end.IsZero() {
		until = "until " + e.Expires.Format(time.RFC3339)
	}
	fmt.Fprintf(os.Stderr, "token %s for %s holds %s; it is not shown again\n", e.ID, access.JoinScopes(scopes, ", "), until)
	return nil
}

func listTokens(out io.Writer, dir string) error {
	entries, err := access.List(vfs.OS{}, dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		fmt.Fprintln(os.Stderr, "there are no tokens; wend serve asks for none, and answers on loopback addresses only")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "id\tstate\tscopes\tcreated\texpires\tname")
	now := time.Now()
	for _, e := range entries {
		until := "never"
		if !e.Expires.IsZero() {
			until = e.Expires.Format(time.DateOnly)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.State(now), access.JoinScopes(e.Scopes, ","), e.Created.Format(time.DateOnly), until, e.Name)
	}
	return nil
}
