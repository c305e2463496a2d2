// Command wend keeps touchpoint events in a folder and answers questions about
// the journeys that customers take.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // time zones by name, also where the system has none

	"github.com/spf13/cobra"

	"wend/access"
	"wend/client"
	"wend/engine"
	"wend/query"
	"wend/storage"
)

// Exit statuses, as interfaces promise them to scripts.
const (
	exitDone     = 0
	exitFailed   = 1
	exitMistaken = 2 // the command or the query is mistaken
	exitPartial  = 3 // the answer leaves damaged data out
)

// mistake marks an error that the user can mend in the command itself.
type mistake struct{ error }

// Unwrap leads to what was mistaken.
func (m mistake) Unwrap() error { return m.error }

// errPartial ends a command whose answer, already printed, is partial.
var errPartial = errors.New("the answer is partial: damaged data was left out; run wend check")

func main() { os.Exit(run(os.Args[1:])) }

// run runs one command line and returns its exit status.
func run(args []string) int {
	// A reader that has seen enough, such as head, is no failure: a write then
	// fails with EPIPE instead of ending the process by a signal.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	out := &output{File: os.Stdout}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	var unknown error
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, rest []string) {
		if cmd == root { // perhaps because there is no such command
			words := slices.DeleteFunc(slices.Clone(args), func(w string) bool { return strings.HasPrefix(w, "-") })
			if len(words) > 0 && words[0] == "help" {
				words = words[1:]
			}
			unknown = unknownCommand(cmd, words)
		}
		if unknown == nil {
			help(cmd, rest)
		}
	})
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = unknown
	}
	switch {
	case errors.Is(out.err, syscall.EPIPE):
		return exitDone
	case err == nil && out.err != nil:
		err = fmt.Errorf("write the answer: %w", out.err)
	}
	if err == nil {
		return exitDone
	}
	printError(err)
	return exitStatus(err)
}

// exitStatus tells what the user can mend in the command from what failed.
func exitStatus(err error) int {
	var m mistake
	var q query.Errors
	var one *query.Error
	var refused *client.Error
	var looked errUnrepaired
	switch {
	case errors.Is(err, errPartial), errors.As(err, &looked):
		return exitPartial
	case errors.As(err, &m), errors.As(err, &q), errors.As(err, &one), errors.Is(err, engine.ErrLimit),
		errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrIsBackup), errors.Is(err, storage.ErrBadLink), errors.Is(err, access.ErrNoToken),
		errors.As(err, &refused) && refused.Mistaken():
		return exitMistaken
	}
	return exitFailed
}

// output is standard output. It remembers the first write that failed, because
// not everything that prints looks.
type output struct {
	*os.File
	err error
}

// Write remembers its first error.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.File.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// ReadFrom writes what r has, with Write: that of the file would remember nothing.
func (o *output) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{o}, r)
}

// printError shows a query's mistakes with their places, anything else in a line.
func printError(err error) {
	if text, ok := query.Pretty(err); ok {
		fmt.Fprintln(os.Stderr, text)
		return
	}
	fmt.Fprintf(os.Stderr, "wend: %v%s\n", err, advice(err))
}

// advice says what to do next where the error itself does not.
func advice(err error) string {
	var missing *fs.PathError
	var refused *client.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return "\n--token-file names the file that has it"
	case errors.Is(err, storage.ErrLocked):
		return "\nwend query, repl, status, check and export read beside the writer; if it is wend serve, give its http:// address in place of the folder"
	case errors.Is(err, storage.ErrCorrupt) && strings.Contains(err.Error(), "wend repair"):
		return "\nsee \"When data is damaged\" in docs/operations.md"
	case errors.Is(err, storage.ErrCorrupt):
		return "\nwend check tells what is damaged; see \"When data is damaged\" in docs/operations.md"
	case errors.As(err, &missing) && errors.Is(err, fs.ErrPermission):
		return "; wend needs the right to do that, as the user it runs as"
	}
	return ""
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "wend",
		Short: "Journeys of customers: funnels, drop-offs, paths",
		Long:  "wend keeps touchpoint events in a folder and answers questions about the journeys that customers take.",
		Example: `  wend demo
  wend import shop.wend events.csv
  wend query shop.wend 'funnel view_product -> add_to_cart -> purchase within 7d'
  wend repl shop.wend`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return mistake{fmt.Errorf("%w; %s --help shows the flags", err, cmd.CommandPath())}
	})
	root.SetVersionTemplate("wend {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true // ours knows the names of shells
	root.AddCommand(
		demoCommand(), importCommand(), queryCommand(), replCommand(), serveCommand(), tokenCommand(),
		statusCommand(), checkCommand(), compactCommand(), backupCommand(), restoreCommand(), repairCommand(), upgradeCommand(), dumpCommand(), exportCommand(), undoCommand(),
		linkCommand(), linksCommand(), unlinkCommand(), eraseCommand(), completionCommand(), versionCommand(),
	)
	for _, c := range root.Commands() {
		if c.Args != nil {
			c.Args = asMistake(c.Args)
		}
	}
	root.Args = unknownCommand
	root.SuggestionsMinimumDistance = 2
	return root
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += fmt.Sprintf("; did you mean %q?", near[0])
	} else {
		message += "; wend --help lists them"
	}
	return mistake{errors.New(message)}
}

// asMistake marks wrong arguments as the user's to mend.
func asMistake(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		given := "no arguments were given"
		switch more := append(slices.Clone(args), "more"); {
		case len(args) > 0 && check(cmd, more) == nil:
			given = fmt.Sprintf("behind %q something is missing", strings.Join(args, " "))
		case len(args) > 0:
			given = fmt.Sprintf("%q does not fit", strings.Join(args, " "))
		}
		return mistake{fmt.Errorf("%s: %s; usage: wend %s", cmd.Name(), given, cmd.Use)}
	}
}

// version is the product's version; a build may set it with -ldflags.
var version = "0.1.0"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			goVersion, revision := "unknown", "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				goVersion = info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wend %s (revision %s, %s)\n", version, revision, goVersion)
		},
	}
}
