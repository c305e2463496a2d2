package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

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
	var remote remoteFlags
	cmd := &cobra.Command{
		Use:   "import DB FILE...",
		Short: "Import files of events",
		Long: `Imports CSV, TSV and NDJSON files, plain, .gz, .zst or inside .zip; - is standard input.
Usual column names are recognised and the choice is printed; --map says the rest, further
columns become properties. Importing a file again, or one that overlaps it, adds nothing twice.
Each file is imported whole or not at all; wend undo takes one back. Where DB is the address of a
server, events are sent to it batch by batch; after an interruption the same command sends the rest.`,
		Example: `  wend import shop.wend events.csv
  wend import shop.wend log.csv.zst --map customer=user,time=ts,event=action
  wend import shop.wend till.csv --set channel=store --delimiter ';' --decimal-comma --timezone Europe/Berlin
  zcat log.gz | wend import shop.wend -
  wend import http://127.0.0.1:7171 events.csv`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt, err := f.options()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			if f.dryRun {
				return dryRun(ctx, &remote, args[0], args[1:], opt, cmd.OutOrStdout())
			}
			t, err := openTarget(ctx, &remote, args[0], args[1:], opt)
			if err != nil {
				return err
			}
			defer t.close()
			return importFiles(ctx, t, args[1:], opt, cmd.OutOrStdout())
		},
	}
	f.register(cmd)
	remote.register(cmd)
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
	flags.StringVar(&f.encoding, "encoding", "", "utf-8, utf-16, windows-1252, iso-8859-1 and others (default: utf-8)")
	flags.StringVar(&f.timezone, "timezone", "", "zone of times that name none, such as Europe/Berlin (default: UTC)")
	flags.StringVar(&f.timeFormat, "time-format", "", "how times are written, as 2 January 2006, 15:04:05 would look, such as '02.01.2006 15:04'")
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
func dryRun(ctx context.Context, remote *remoteFlags, db string, files []string, opt ingest.Options, out io.Writer) error {
	var err error
	if opt.Known, err = knownTo(ctx, remote, db); err != nil {
		return err
	}
	r, err := openFiles(ctx, files, opt)
	if err != nil {
		return err
	}
	defer r.Close()
	events, err := r.Preview(ctx, 5)
	if err != nil {
		return readError(err)
	}
	printMappings(r)
	shown := &engine.Result{Columns: []engine.Column{{Name: "customer", Type: engine.String}, {Name: "time", Type: engine.Time},
		{Name: "event", Type: engine.String}, {Name: "channel", Type: engine.String}, {Name: "id", Type: engine.String}, {Name: "properties", Type: engine.Object}}}
	for _, e := range events {
		shown.Rows = append(shown.Rows, []engine.Cell{e.Customer, e.Time, e.Name, nullable(e.Channel), nullable(e.ID), e.Props})
	}
	if err := render.Write(out, shown, "table", terminalOptions(out)); err != nil {
		return err
	}
	for _, note := range r.Notes() {
		fmt.Fprintln(os.Stderr, note)
	}
	fmt.Fprintf(out, "would import %d events, %d rejected\n", r.Stats().Events, r.Stats().Rejected)
	printRejects(out, r)
	return nil
}

// knownTo lists the types of the properties that a store has already; one that
// is not there yet has none.
func knownTo(ctx context.Context, remote *remoteFlags, db string) (map[string]event.Type, error) {
	if isURL(db) {
		c, err := remote.client(db)
		if err != nil {
			return nil, err
		}
		types, _, err := (&serverTarget{client: c}).known(ctx)
		return types, err
	}
	if found, err := lookAt(db); err != nil || found != aStore {
		return nil, err
	}
	store, err := openStore(db, reading)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	types, _, err := (&folderTarget{db: store}).known(ctx)
	return types, err
}

func nullable(text string) engine.Cell {
	if text == "" {
		return nil
	}
	return text
}

func openFiles(ctx context.Context, files []string, opt ingest.Options) (*ingest.Reader, error) {
	var in io.Reader
	if slices.Contains(files, "-") {
		in = os.Stdin
	}
	r, err := ingest.Open(ctx, files, in, opt)
	if ctx.Err() != nil {
		return nil, errors.New("import: interrupted; nothing was imported")
	}
	if err != nil {
		return nil, readError(err)
	}
	return r, nil
}

func printMappings(r *ingest.Reader) {
	for _, m := range r.Mappings() {
		if len(m.Fields) > 0 { // an empty file has none; the notes say so
			fmt.Fprintf(os.Stderr, "%s: %s\n", m.File, m)
		}
	}
}

// readError says of an error of reading what was read, and marks what the user
// can mend in the command or the file.
func readError(err error) error {
	var mapping *ingest.MappingError
	var reject *ingest.RejectError
	var source *ingest.SourceError
	var path *fs.PathError
	switch {
	case errors.As(err, &path) && errors.Is(err, fs.ErrNotExist):
		return mistake{fmt.Errorf("import: there is no file %s", path.Path)}
	case errors.As(err, &source):
		return mistake{fmt.Errorf("import: %w", err)}
	case errors.As(err, &mapping), errors.As(err, &reject):
		return mistake{err}
	}
	return fmt.Errorf("import: %w", err)
}

// importer carries one import command from file to file.
type importer struct {
	target   target
	source   string // that is being imported; "" before the first and between two
	total    storage.LoadResult
	here     map[string]struct{} // customers of this source
	all      map[string]struct{} // of all sources that added something; nil: the target counts them
	imports  []string
	defined  map[string]string // kinds of definitions by their names
	hidden   []string          // what to say of names that definitions have, too
	rejected int64             // by the store, beyond those of the reader
	first    []string
}

// importFiles imports files, each as an import of its own.
func importFiles(ctx context.Context, t target, files []string, opt ingest.Options, out io.Writer) error {
	known, definitions, err := t.known(ctx)
	if err != nil {
		return err
	}
	opt.Known = known
	began := time.Now()
	bar := newProgress(os.Stderr)
	opt.Progress = func(p ingest.Progress) { bar.show(p, time.Since(began)) }
	r, err := openFiles(ctx, files, opt)
	if err != nil {
		return err
	}
	defer r.Close()
	printMappings(r)
	im := &importer{target: t, defined: map[string]string{}}
	for _, d := range definitions {
		im.defined[d.Name] = d.Kind
	}
	if len(files) > 1 || !t.counts() {
		im.all = map[string]struct{}{}
	}
	if err := im.run(ctx, r, bar); err != nil {
		bar.clear()
		t.abort()
		if ctx.Err() != nil {
			return fmt.Errorf("import: interrupted; %s", im.kept())
		}
		return fmt.Errorf("%w; %s", err, im.kept())
	}
	bar.clear()
	for _, note := range append(r.Notes(), im.hidden...) {
		fmt.Fprintln(os.Stderr, note)
	}
	rejected := r.Stats().Rejected + im.rejected
	fmt.Fprintf(out, "imported %d events, %d customers, %d duplicates, %d rejected\n", im.total.Events, im.total.Customers, im.total.Duplicates+im.total.Conflicts, rejected)
	if im.total.Conflicts > 0 {
		fmt.Fprintf(out, "%d of the duplicates have other content than the event stored first, which stays\n", im.total.Conflicts)
	}
	if im.total.Suppressed > 0 {
		fmt.Fprintf(out, "%d suppressed: events of customers who were erased, and are not to come back\n", im.total.Suppressed)
	}
	printRejects(out, r)
	for _, line := range im.first {
		fmt.Fprintln(out, " ", line)
	}
	if more := im.rejected - int64(len(im.first)); more > 0 {
		fmt.Fprintf(out, "  and %d more that the store rejects\n", more)
	}
	if missing := t.missing(); len(missing) > 0 {
		for _, m := range missing {
			fmt.Fprintf(os.Stderr, "missing: %s\n", engine.Missing(m))
		}
		fmt.Fprintln(os.Stderr, "events that were stored in what is missing count as new")
	}
	took := time.Since(began)
	fmt.Fprintf(os.Stderr, "%.1f s, %.0f rows/s", took.Seconds(), float64(r.Stats().Rows)/took.Seconds())
	if len(im.imports) > 0 {
		fmt.Fprintf(os.Stderr, "; wend undo takes back %s", strings.Join(im.imports, ", "))
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

// run hands every batch on. Nothing of a source is kept unless its end was reached.
func (im *importer) run(ctx context.Context, r *ingest.Reader, bar *progress) error {
	for {
		batch, err := r.Next(ctx)
		if err == io.EOF {
			bar.working("sorting and writing")
			return im.finish(ctx)
		}
		if err != nil {
			return readError(err)
		}
		if err := im.add(ctx, r.Source(), batch); err != nil {
			return err
		}
	}
}

func (im *importer) add(ctx context.Context, source string, batch *event.Batch) error {
	if im.source != "" && source != im.source {
		if err := im.finish(ctx); err != nil {
			return err
		}
	}
	if im.source == "" {
		if err := im.target.begin(ctx, source); err != nil {
			return err
		}
		im.source, im.here = source, map[string]struct{}{}
	}
	if im.all != nil {
		for _, c := range batch.Customer {
			if _, ok := im.here[c]; !ok {
				im.here[strings.Clone(c)] = struct{}{}
			}
		}
	}
	im.compare("an event", batch.Names)
	im.compare("a channel", batch.Channels)
	for _, c := range batch.Columns {
		im.compare("a property", []string{c.Name})
	}
	return im.target.add(ctx, batch)
}

// compare looks for names that definitions have, too. Each definition is told of once.
func (im *importer) compare(what string, names []string) {
	if len(im.defined) == 0 {
		return
	}
	for _, name := range names {
		kind, taken := im.defined[name]
		if !taken {
			continue
		}
		if kind = "a " + kind; kind == "a channels" {
			kind = "a group of channels"
		}
		im.hidden = append(im.hidden, fmt.Sprintf("warning: %q is %s now, and %s that is defined: where both fit, a statement means the definition; drop it and define it under another name to have both", name, what, kind))
		delete(im.defined, name)
	}
}

// finish ends the import of a source.
func (im *importer) finish(ctx context.Context) error {
	if im.source == "" {
		return nil
	}
	source := im.source
	im.source = ""
	done, err := im.target.finish(ctx)
	if err != nil {
		return err
	}
	im.total.Events += done.Events
	im.total.Duplicates += done.Duplicates
	im.total.Suppressed += done.Suppressed
	im.total.Conflicts += done.Conflicts
	im.total.Customers = done.Customers
	if im.all != nil {
		if done.Events > 0 {
			maps.Copy(im.all, im.here)
		}
		im.total.Customers = int64(len(im.all))
	}
	im.rejected += done.Rejected
	for _, j := range done.Rejects {
		if len(im.first) < rejectsShown {
			im.first = append(im.first, fmt.Sprintf("%s: event %d: %s", source, j.Index+1, j.Reason))
		}
	}
	if done.ImportID != "" {
		im.imports = append(im.imports, done.ImportID)
	}
	return nil
}

// kept says what an import that did not finish has left in the store.
func (im *importer) kept() string {
	if part := im.target.sent(); part > 0 {
		return fmt.Sprintf("the server has taken %d events; the same command again sends the rest", im.total.Events+part)
	}
	if len(im.imports) == 0 {
		return "nothing was imported"
	}
	return fmt.Sprintf("%d files before this one were imported (%s); the same command again imports the rest", len(im.imports), strings.Join(im.imports, ", "))
}

func printRejects(out io.Writer, r *ingest.Reader) {
	rejects, stats := r.Rejects(), r.Stats()
	for i, j := range rejects {
		if i == rejectsShown {
			break
		}
		fmt.Fprintln(out, " ", j)
	}
	if stats.Rejected > rejectsShown {
		fmt.Fprintf(out, "  and %d more\n", stats.Rejected-rejectsShown)
	}
	noTime := func(j ingest.Reject) bool { return strings.HasPrefix(j.Reason, "expected a time") }
	if stats.Events == 0 && len(rejects) > 0 && !slices.ContainsFunc(rejects, func(j ingest.Reject) bool { return !noTime(j) }) {
		fmt.Fprintln(os.Stderr, "no row has a time that can be read; --time-format says how times are written, as 2 January 2006, 15:04:05 would look, such as '01/02/2006 15:04'")
	}
}
