// Command wend keeps touchpoint events in a folder and answers questions about
// the journeys that customers take.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // time zones by name, also where the system has none

	"github.com/spf13/cobra"

	"wend/engine"
	"wend/query"
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

func (m mistake) Unwrap() error { return m.error }

// errPartial ends a command whose answer, already printed, is partial.
var errPartial = errors.New("the answer is partial: damaged data was left out; run wend check")

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if err == errPartial {
		fmt.Fprintln(os.Stderr, "wend:", err)
		return exitPartial
	}
	printError(err)
	var m mistake
	var q query.Errors
	var one *query.Error
	if errors.As(err, &m) || errors.As(err, &q) || errors.As(err, &one) || errors.Is(err, engine.ErrLimit) {
		return exitMistaken
	}
	return exitFailed
}

// printError shows a query's mistakes with their places, anything else in a line.
func printError(err error) {
	var mistakes query.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Fprintln(os.Stderr, m.Pretty())
		}
		return
	}
	var one *query.Error
	if errors.As(err, &one) {
		fmt.Fprintln(os.Stderr, one.Pretty())
		return
	}
	fmt.Fprintln(os.Stderr, "wend:", err)
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
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return mistake{fmt.Errorf("%w; %s --help shows the flags", err, cmd.CommandPath())}
	})
	root.AddCommand(
		demoCommand(), importCommand(), queryCommand(), replCommand(), serveCommand(),
		statusCommand(), checkCommand(), compactCommand(), dumpCommand(), exportCommand(), undoCommand(),
		linkCommand(), linksCommand(), unlinkCommand(), versionCommand(),
	)
	for _, c := range root.Commands() {
		if c.Args != nil {
			c.Args = asMistake(c.Args)
		}
	}
	root.Args = asMistake(func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		message := fmt.Sprintf("there is no command %q", args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			message += fmt.Sprintf("; did you mean %q?", near[0])
		}
		return errors.New(message)
	})
	return root
}

// asMistake marks wrong arguments as the user's to mend.
func asMistake(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return mistake{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
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
