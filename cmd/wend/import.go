package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"wend/engine"
	"wend/event"
	"wend/ingest"
	"wend/render"
	"wend/storage"
)

// rejectsShown is how many rejected rows an import prints with their reasons.
const rejectsShown = 10

func importCommand() *cobra.Command {
	f := importFlags{}
	cmd := &cobra.Command{
		Use:   "import DB FILE...",
		Short: "Import files of events",
		Long: `Imports CSV, TSV and NDJSON files, plain, .gz, .zst or inside .zip; - is standard input.
Usual column names are recognised and the choice is printed; --map says the rest, further
columns become properties. Importing a file again, or one that overlaps it, adds nothing twice.
Each file is imported whole or not at all; wend undo takes one back.`,
		Example: `  wend import shop.wend events.csv
  wend import shop.wend log.csv.zst --map customer=user,time=ts,event=action
  wend import shop.wend till.csv --set channel=store --delimiter ';' --decimal-comma --timezone Europe/Berlin
  zcat log.gz | wend import shop.wend -`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt, err := f.options()
			if err != nil {
				return err
			}
			if isURL(args[0]) {
				return mistake{errors.New("files are imported into a folder; a server takes events at POST /v1/events")}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			if f.dryRun {
				return dryRun(ctx, args[0], args[1:], opt, cmd.OutOrStdout())
			}
			db, err := openStore(args[0], false)
			if err != nil {
				return err
			}
			defer db.Close()
			return importFiles(ctx, db, args[1:], opt, cmd.OutOrStdout())
		},
	}
	f.register(cmd)
	return cmd
}

// importFlags are the flags of import as they were given.
type importFlags struct {
	mapping, set, types  []string
	delimiter, encoding  string
	timezone, timeFormat string
	onError, format      string
	decimalComma, dryRun bool
}

func (f *importFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.mapping, "map", nil, "field=column: where customer, time, event, channel and id come from")
	flags.StringSliceVar(&f.set, "set", nil, "field=value: the same for every event")
	flags.StringSliceVar(&f.types, "type", nil, "property=type: string, integer, float, boolean or time, instead of what the values suggest")
	flags.StringVar(&f.delimiter, "delimiter", "", "what parts CSV columns (default: found out)")
	flags.BoolVar(&f.decimalComma, "decimal-comma", false, "numbers are written 1.234,50")
	flags.StringVar(&f.encoding, "encoding", "", "utf-8 or windows-1252 (default: utf-8)")
	flags.StringVar(&f.timezone, "timezone", "", "zone of times that name none, such as Europe/Berlin (default: UTC)")
	flags.StringVar(&f.timeFormat, "time-format", "", "how times are written, as Go writes 2006-01-02 15:04:05")
	flags.StringVar(&f.onError, "on-error", "skip", "skip rows that cannot be read, or stop at the first")
	flags.StringVar(&f.format, "format", "", "csv, tsv or ndjson (default: by name and content)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print how rows are read and what would be rejected; store nothing")
}

func (f *importFlags) options() (ingest.Options, error) {
	opt := ingest.Options{DecimalComma: f.decimalComma, Encoding: f.encoding, TimeFormat: f.timeFormat, OnError: f.onError, Format: f.format}
	var err error
	if opt.Map, err = pairs("--map", f.mapping); err != nil {
		return opt, err
	}
	if opt.Set, err = pairs("--set", f.set); err != nil {
		return opt, err
	}
	types, err := pairs("--type", f.types)
	if err != nil {
		return opt, err
	}
	opt.Types = map[string]event.Type{}
	for name, text := range types {
		t, ok := event.ParseType(text)
		if !ok {
			return opt, mistake{fmt.Errorf("--type %s=%s: there is no type %q; choose string, integer, float, boolean or time", name, text, text)}
		}
		opt.Types[name] = t
	}
	switch d := []rune(strings.ReplaceAll(f.delimiter, `\t`, "\t")); len(d) {
	case 0:
	case 1:
		opt.Delimiter = d[0]
	default:
		return opt, mistake{fmt.Errorf("--delimiter is one character, not %q", f.delimiter)}
	}
	if f.timezone != "" {
		if opt.Timezone, err = time.LoadLocation(f.timezone); err != nil {
			return opt, mistake{fmt.Errorf("--timezone: %w; zones are named like Europe/Berlin", err)}
		}
	}
	return opt, nil
}

func pairs(flag string, list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, pair := range list {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, mistake{fmt.Errorf("%s takes name=value, not %q", flag, pair)}
		}
		m[name] = value
	}
	return m, nil
}

// dryRun shows how files would be read.
func dryRun(ctx context.Context, dir string, files []string, opt ingest.Options, out io.Writer) error {
	if _, err := os.Stat(dir); err == nil {
		db, err := openStore(dir, true)
		if err != nil {
			return err
		}
		opt.Known, err = knownTypes(db)
		db.Close()
		if err != nil {
			return err
		}
	}
	r, err := openFiles(files, opt)
	if err != nil {
		return err
	}
	defer r.Close()
	events, err := r.Preview(ctx, 5)
	if err != nil {
		return readError(err)
	}
	for _, m := range r.Mappings() {
		fmt.Fprintf(os.Stderr, "%s: %s\n", m.File, m)
	}
	shown := &engine.Result{Columns: []engine.Column{{Name: "customer", Type: engine.String}, {Name: "time", Type: engine.Time},
		{Name: "event", Type: engine.String}, {Name: "channel", Type: engine.String}, {Name: "id", Type: engine.String}, {Name: "properties", Type: engine.Object}}}
	for _, e := range events {
		shown.Rows = append(shown.Rows, []engine.Cell{e.Customer, e.Time, e.Name, nullable(e.Channel), nullable(e.ID), e.Props})
	}
	if err := render.Write(out, shown, "table", terminalOptions(out)); err != nil {
		return err
	}
	fmt.Fprintf(out, "would import %d events, %d rejected\n", r.Stats().Events, r.Stats().Rejected)
	printRejects(out, r.Rejects(), r.Stats().Rejected)
	return nil
}

func nullable(text string) engine.Cell {
	if text == "" {
		return nil
	}
	return text
}

func openFiles(files []string, opt ingest.Options) (*ingest.Reader, error) {
	r, err := ingest.Open(files, os.Stdin, opt)
	if err != nil {
		return nil, readError(err)
	}
	return r, nil
}

// readError marks what the user can mend in the command or the file.
func readError(err error) error {
	var mapping *ingest.MappingError
	var reject *ingest.RejectError
	if errors.As(err, &mapping) || errors.As(err, &reject) || errors.Is(err, os.ErrNotExist) {
		return mistake{err}
	}
	return err
}

// knownTypes are the types that a store's properties have already.
func knownTypes(db *engine.DB) (map[string]event.Type, error) {
	schema, _, err := db.Schema()
	if err != nil {
		return nil, err
	}
	known := map[string]event.Type{}
	for _, p := range schema.Properties {
		known[p.Name] = p.Type
	}
	return known, nil
}

// importer carries one import command from file to file.
type importer struct {
	db       *engine.DB
	load     *storage.Load
	source   string
	total    storage.LoadResult
	seen     map[string]struct{} // customers over several files
	imports  []string
	rejected int64 // by the store, beyond those of the reader
	first    []string
}

// importFiles imports files, each as an import of its own.
func importFiles(ctx context.Context, db *engine.DB, files []string, opt ingest.Options, out io.Writer) error {
	var err error
	if opt.Known, err = knownTypes(db); err != nil {
		return err
	}
	began := time.Now()
	bar := newProgress(os.Stderr)
	opt.Progress = func(p ingest.Progress) { bar.show(p, time.Since(began)) }
	r, err := openFiles(files, opt)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, m := range r.Mappings() {
		fmt.Fprintf(os.Stderr, "%s: %s\n", m.File, m)
	}
	im := &importer{db: db}
	if len(files) > 1 {
		im.seen = map[string]struct{}{}
	}
	for {
		batch, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = im.add(ctx, r.Source(), batch)
		}
		if err != nil {
			bar.clear()
			im.abort()
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted; %s", im.kept())
			}
			return fmt.Errorf("%w; %s", readError(err), im.kept())
		}
	}
	bar.working("sorting and writing")
	err = im.commit(ctx)
	bar.clear()
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted; %s", im.kept())
		}
		return fmt.Errorf("%w; %s", err, im.kept())
	}
	for _, note := range r.Notes() {
		fmt.Fprintln(os.Stderr, note)
	}
	rejected := r.Stats().Rejected + im.rejected
	fmt.Fprintf(out, "imported %d events, %d customers, %d duplicates, %d rejected\n", im.total.Events, im.total.Customers, im.total.Duplicates, rejected)
	if im.total.Conflicts > 0 {
		fmt.Fprintf(out, "%d of the duplicates have other content than the event stored first, which stays\n", im.total.Conflicts)
	}
	printRejects(out, r.Rejects(), r.Stats().Rejected)
	for _, line := range im.first {
		fmt.Fprintln(out, " ", line)
	}
	took := time.Since(began)
	fmt.Fprintf(os.Stderr, "%.1f s, %.0f events/s; wend undo takes back %s\n", took.Seconds(), float64(im.total.Events)/took.Seconds(), strings.Join(im.imports, ", "))
	return nil
}

func (im *importer) add(ctx context.Context, source string, batch *event.Batch) error {
	if im.load != nil && source != im.source {
		if err := im.commit(ctx); err != nil {
			return err
		}
	}
	if im.load == nil {
		load, err := im.db.Store().NewLoad(ctx, storage.LoadOptions{Source: source})
		if err != nil {
			return err
		}
		im.load, im.source = load, source
	}
	if im.seen != nil {
		for _, c := range batch.Customer {
			if _, ok := im.seen[c]; !ok {
				im.seen[strings.Clone(c)] = struct{}{}
			}
		}
	}
	return im.load.Add(batch)
}

func (im *importer) commit(ctx context.Context) error {
	if im.load == nil {
		return nil
	}
	load := im.load
	im.load = nil
	done, err := load.Commit(ctx)
	if err != nil {
		return err
	}
	im.total.Events += done.Events
	im.total.Duplicates += done.Duplicates
	im.total.Conflicts += done.Conflicts
	im.total.Customers = done.Customers
	if im.seen != nil {
		im.total.Customers = int64(len(im.seen))
	}
	im.rejected += int64(len(done.Rejected))
	for _, j := range done.Rejected {
		if len(im.first) < rejectsShown {
			im.first = append(im.first, fmt.Sprintf("%s: row %d: %s", im.source, j.Index+1, j.Reason))
		}
	}
	if done.ImportID != "" {
		im.imports = append(im.imports, done.ImportID)
	}
	return nil
}

func (im *importer) abort() {
	if im.load != nil {
		im.load.Abort()
		im.load = nil
	}
}

// kept says what an import that did not finish has left in the store.
func (im *importer) kept() string {
	if len(im.imports) == 0 {
		return "nothing was imported"
	}
	return fmt.Sprintf("%d files before this one were imported (%s); the same command again imports the rest", len(im.imports), strings.Join(im.imports, ", "))
}

func printRejects(out io.Writer, rejects []ingest.Reject, all int64) {
	for i, j := range rejects {
		if i == rejectsShown {
			break
		}
		fmt.Fprintln(out, " ", j)
	}
	if all > rejectsShown {
		fmt.Fprintf(out, "  and %d more\n", all-rejectsShown)
	}
}

// progress is one line on a terminal that says how far reading is; elsewhere it
// says nothing.
type progress struct {
	out   io.Writer
	on    bool
	last  time.Time
	drawn bool
}

func newProgress(f *os.File) *progress {
	return &progress{out: f, on: term.IsTerminal(int(f.Fd()))}
}

func (p *progress) show(at ingest.Progress, elapsed time.Duration) {
	if !p.on || time.Since(p.last) < 100*time.Millisecond || elapsed < 300*time.Millisecond {
		return
	}
	p.last, p.drawn = time.Now(), true
	fmt.Fprintf(p.out, "\r\x1b[K%d rows, %.0f rows/s", at.Rows, float64(at.Rows)/elapsed.Seconds())
	if at.Total > 0 && at.Bytes > 0 {
		share := float64(at.Bytes) / float64(at.Total)
		left := time.Duration(float64(elapsed) * (1 - share) / share)
		fmt.Fprintf(p.out, ", %.0f %% of the file, %s left", 100*share, left.Round(time.Second))
	}
}

func (p *progress) working(what string) {
	if p.on {
		p.drawn = true
		fmt.Fprintf(p.out, "\r\x1b[K%s", what)
	}
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.drawn = false
	}
}
