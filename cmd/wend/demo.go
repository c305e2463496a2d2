package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"wend/ingest"
	"wend/internal/demo"
	"wend/render"
	"wend/storage"
)

func demoCommand() *cobra.Command {
	var seed uint64
	var customers int
	cmd := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Make a small shop's data, import it, ask the first questions",
		Long:  "Writes the exports of a made-up omnichannel shop into DIR (default demo-shop), imports them into DIR/shop.wend, and shows a funnel, its drop-offs and the top paths to a purchase.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if customers < demoLeast {
				return mistake{fmt.Errorf("--customers %d: a shop of fewer than %d people has too little to ask about", customers, demoLeast)}
			}
			dir := "demo-shop"
			if len(args) == 1 {
				dir = args[0]
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), dir, seed, customers)
		},
	}
	cmd.Flags().Uint64Var(&seed, "seed", 1, "the same seed makes the same shop")
	cmd.Flags().IntVar(&customers, "customers", demo.Customers, "how many people the shop knows")
	return cmd
}

// demoLeast is how many people it takes for every demoStatement to have something
// to count, whatever the seed.
const demoLeast = 100

// demoStatements are what the demo asks, with what is said before each.
var demoStatements = []struct{ say, statement string }{
	{"Of those who look at a product, who buys within a week, by the channel they came in on?", "funnel view_product -> add_to_cart -> purchase within 7d by channel"},
	{"Where do those go who stop?", "dropoff view_product -> add_to_cart -> purchase within 7d top 3"},
	{"Which paths lead to a purchase?", "paths to purchase within 7d of event, channel length 4 top 5"},
	{"A reservation is a hand-over to the store. How many arrive?", "funnel reserve_in_store -> store_pickup within 7d"},
}

func runDemo(ctx context.Context, out io.Writer, dir string, seed uint64, customers int) error {
	shop := demo.New(seed, customers)
	files, err := shop.Write(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "A shop with web, app, e-mail, ads, stores and a call centre: %d events, in %s.\n", shop.Events(), dir)
	path := filepath.Join(dir, "shop.wend")
	db, err := openStore(path, making)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, f := range files {
		opt := ingest.Options{DecimalComma: f.DecimalComma}
		shown := ""
		if f.DecimalComma {
			if opt.Timezone, err = time.LoadLocation(f.Timezone); err != nil {
				return err
			}
			shown = " --decimal-comma --timezone " + f.Timezone
		}
		fmt.Fprintf(out, "\n$ wend import %s %s%s\n", path, f.Path, shown)
		if err := importFiles(ctx, &folderTarget{db: db}, []string{f.Path}, opt, out); err != nil {
			return err
		}
	}
	links := make([]storage.Link, len(shop.Links))
	for i, l := range shop.Links {
		links[i] = storage.Link(l)
	}
	if err := db.Store().LinkAll(ctx, links); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nAt the login, %d anonymous visitors became known customers: $ wend link %s %s %s\n", len(shop.Links), path, shop.Links[0].From, shop.Links[0].To)

	opt := terminalOptions(out)
	for _, q := range demoStatements {
		fmt.Fprintf(out, "\n%s\n$ wend query %s '%s'\n", q.say, path, q.statement)
		result, err := db.Query(ctx, q.statement)
		if err != nil {
			return err
		}
		if err := render.Write(out, result, "table", opt); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, render.Footer(result, opt))
	}
	_, err = fmt.Fprintf(out, `
How to go on:
  in the shell     wend repl %[1]s
  over HTTP        wend serve %[1]s
                   curl http://127.0.0.1:7171/v1/query -H 'Content-Type: text/plain' -d 'show events'
  from Go          examples/embed/main.go
  the language     docs/language.md
`, path)
	return err
}
