package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"wend/engine"
	"wend/event"
	"wend/query"
	"wend/render"
	"wend/repl"
)

var outputs = []string{"table", "json", "csv", "ndjson", "markdown", "chart"}

func queryCommand() *cobra.Command {
	var remote remoteFlags
	var file, output string
	var params []string
	cmd := &cobra.Command{
		Use:   "query DB ['TEXT']",
		Short: "Run statements and print their answers",
		Long:  "Runs one statement or several, parted by semicolons, given as an argument, in a file, or on standard input. DB is a folder or the address of a server.",
		Example: `  wend query shop.wend 'funnel view_product -> purchase within 7d by channel'
  wend query shop.wend -f weekly.wend -o csv > weekly.csv
  wend query http://127.0.0.1:7171 'show events' -o json
  wend query shop.wend 'journey of $who' --param who=C00042`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && !slices.Contains(outputs, output) {
				return mistake{fmt.Errorf("there is no output %q; choose one of %s", output, strings.Join(outputs, ", "))}
			}
			text, err := statementText(args[1:], file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			values, err := paramValues(params)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			db, done, err := openFor(&remote, args[0], text)
			if err != nil {
				return err
			}
			defer done()
			return runStatements(ctx, db, text, values, output, cmd.OutOrStdout())
		},
	}
	remote.register(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "read the statements from this file; - is standard input")
	cmd.Flags().StringVarP(&output, "output", "o", "", "table, json, csv, ndjson, markdown or chart (default: table)")
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringArrayVar(&params, "param", nil, "name=value: what $name stands for; may be repeated")
	return cmd
}

// openFor opens a store for reading, unless a statement defines or drops
// something: then for writing.
func openFor(remote *remoteFlags, db, text string) (repl.Database, func() error, error) {
	if isURL(db) || !changes(text) {
		return remote.database(db)
	}
	store, err := openStore(db, changing)
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}

func changes(script string) bool {
	statements, err := query.Parse(script)
	if err != nil {
		return false // it will not run at all
	}
	return slices.ContainsFunc(statements, func(s *query.Statement) bool { return s.Define != nil || s.Drop != nil })
}

func statementText(args []string, file string, stdin io.Reader) (string, error) {
	switch {
	case len(args) == 1 && file != "":
		return "", mistake{errors.New("give the statements as an argument or with -f, not both")}
	case len(args) == 1:
		return args[0], nil
	case file != "" && file != "-":
		text, err := os.ReadFile(file)
		if err != nil {
			return "", mistake{fmt.Errorf("read the statements of %s: %w", file, errors.Unwrap(err))}
		}
		return string(text), nil
	}
	if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintln(os.Stderr, "Type the statements, then Ctrl-D; wend repl is the comfortable way.")
	}
	text, err := io.ReadAll(stdin)
	if err != nil {
		return "", fmt.Errorf("read the statements from standard input: %w", err)
	}
	return string(text), nil
}

// paramValues reads name=value pairs: what looks like a number or a boolean is
// one, all else is text.
func paramValues(pairs []string) (map[string]event.Value, error) {
	values := map[string]event.Value{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, mistake{fmt.Errorf("--param takes name=value, not %q", pair)}
		}
		values[name] = event.ParseValue(text)
	}
	return values, nil
}

func runStatements(ctx context.Context, db repl.Database, text string, params map[string]event.Value, output string, out io.Writer) error {
	statements, _ := query.Split(text)
	if len(statements) == 0 {
		return mistake{errors.New("there is no statement to run; try 'show events'")}
	}
	if _, err := query.Parse(text); err != nil {
		return err // nothing of a script runs that does not read well to its end
	}
	if output == "" {
		output = "table"
	}
	opt := terminalOptions(out)
	partial := false
	at := 0
	for i, statement := range statements {
		at += strings.Index(text[at:], statement)
		result, err := db.Query(ctx, statement, engine.WithParams(params))
		if ctx.Err() != nil {
			return errors.New("query: interrupted")
		}
		if err != nil {
			return query.Within(text, at, err)
		}
		at += len(statement)
		if i > 0 && (output == "table" || output == "markdown" || output == "chart") {
			fmt.Fprintln(out)
		}
		if err := render.Write(out, result, output, opt); err != nil {
			return fmt.Errorf("print the answer: %w", err)
		}
		partial = partial || result.Meta.Partial
		if output == "table" || output == "chart" {
			fmt.Fprintln(os.Stderr, render.Footer(result, opt))
		} else {
			for _, w := range result.Meta.Warnings {
				fmt.Fprintln(os.Stderr, "warning:", w)
			}
			for _, m := range result.Meta.Missing {
				fmt.Fprintln(os.Stderr, "missing:", m)
			}
		}
	}
	if partial {
		return errPartial
	}
	return nil
}

// terminalOptions fit an answer to the terminal it is printed on, if it is one.
func terminalOptions(out io.Writer) render.Options {
	f, ok := out.(*output)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return render.Options{Unicode: true}
	}
	width, _, _ := term.GetSize(int(f.Fd()))
	return render.Options{Width: width, Unicode: true, Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}
