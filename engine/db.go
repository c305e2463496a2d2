package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"wend/event"
	"wend/query"
	"wend/storage"
)

// Options open a DB. Zero options are good options.
type Options struct {
	ReadOnly bool         // beside a writer, at the state it published last
	Logger   *slog.Logger // nil: nothing is logged

	// What of the process's memory (GOMEMLIMIT, or the machine's or its control
	// group's) is for answers and pages of the store that are kept, and what for
	// all queries that run, together. The one is beside the other.
	CacheBytes  int64 // 0: 512 MiB, but no more than a fifth
	MemoryBytes int64 // 0: 40 %
	Workers     int   // goroutines a query; 0: one a core

	Retention time.Duration // how long events are kept, by their own time; 0: for ever

	Storage storage.Options // seams for tests; the fields above win where both say something
	// On real files (no Storage.FS) a goroutine flushes and compacts.
}

const (
	cacheDefault        = 512 << 20
	sharedMemoryDefault = 512 << 20 // where nobody says how much memory there is
)

// DB is an open store together with the language: what an embedding program
// holds. All its methods may be called from several goroutines.
type DB struct {
	store     *storage.Store
	opt       Options
	memory    *pool  // of all queries
	turns     *turns // of all queries, at the processors
	results   *resultCache
	models    nextModels
	eras      *eras // between erasures
	flights   flights
	longTexts chan struct{} // has something in it while a long text is parsed
	defining  sync.Mutex    // held from checking a definition until it is stored

	mu        sync.Mutex
	closed    bool
	running   sync.WaitGroup
	following sync.WaitGroup  // who looks for erasures of another process
	ctx       context.Context // ends when the DB is closed
	cancel    context.CancelFunc
}

// Open opens the store in a directory. It makes one if there is none, unless
// the store is opened for reading only.
func Open(dir string, opt Options) (*DB, error) {
	opt.shareMemory(memoryForProcess())
	// A finished answer is small and spares the whole work; pages need the room.
	resultBytes := opt.CacheBytes / 8
	opt.Storage.ReadOnly = opt.Storage.ReadOnly || opt.ReadOnly
	opt.ReadOnly = opt.Storage.ReadOnly
	if opt.Logger != nil {
		opt.Storage.Log = opt.Logger
	}
	if opt.Retention != 0 {
		opt.Storage.Retention = opt.Retention
	}
	if opt.Storage.FS == nil && !opt.ReadOnly {
		opt.Storage.Background = true
	}
	if opt.Storage.CacheBytes == 0 {
		opt.Storage.CacheBytes = opt.CacheBytes - resultBytes
	}
	results, err := newResultCache(resultBytes)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	store, err := storage.Open(dir, opt.Storage)
	if err != nil {
		results.close()
		return nil, err
	}
	db := &DB{store: store, opt: opt, memory: newPool(opt.MemoryBytes), turns: newTurns(cmp.Or(opt.Workers, runtime.GOMAXPROCS(0))), longTexts: make(chan struct{}, 1), results: results, eras: newEras(eraseGrace)}
	db.models.now, db.models.max = time.Now, opt.CacheBytes/4
	db.ctx, db.cancel = context.WithCancel(context.Background())
	if opt.ReadOnly {
		last, err := store.LastErasure()
		if err != nil {
			results.close()
			return nil, errors.Join(err, store.Close())
		}
		db.eras = newEras(eraseGrace - eraseLook)
		db.following.Add(1)
		go db.followErasures(last)
	}
	return db, nil
}

// shareMemory sets what of the process's memory is for what, where the caller
// did not; 0: it is not known.
func (opt *Options) shareMemory(process int64) {
	if opt.CacheBytes <= 0 {
		opt.CacheBytes = cacheDefault
		if process > 0 {
			opt.CacheBytes = min(opt.CacheBytes, process/5)
		}
	}
	if opt.MemoryBytes <= 0 {
		opt.MemoryBytes = sharedMemoryDefault
		if process > 0 {
			opt.MemoryBytes = process / 5 * 2
		}
	}
}

// Reserve takes memory of the pool that all queries share, for what a caller
// does with an answer, such as writing it to a client that takes its time. Where
// a query needs the memory and nobody holds more, end is called; release, which
// must be called, gives it back.
func (db *DB) Reserve(ctx context.Context, bytes int64, end context.CancelCauseFunc) (release func(), err error) {
	b := newBudget(ctx, bytes, db.memory, end)
	if err := b.reserve(bytes); err != nil {
		b.close()
		return nil, err
	}
	return sync.OnceFunc(b.close), nil
}

// MemoryReserved is what running queries hold now of the memory they share.
func (db *DB) MemoryReserved() int64 { return db.memory.used.Load() }

// Close ends running queries and closes the store. What was acknowledged as
// durable stays so without it.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	db.cancel()
	db.running.Wait()
	db.following.Wait()
	db.results.close()
	return db.store.Close()
}

// logBug logs an error that is a panic's, of what nobody waits for, and reports
// whether it is one.
func (db *DB) logBug(what string, err error) bool {
	var bug *PanicError
	if !errors.As(err, &bug) {
		return false
	}
	if db.opt.Logger != nil {
		db.opt.Logger.Error(what, "panic", fmt.Sprintf("%T", bug.Value), "stack", string(bug.Stack))
	}
	return true
}

// begin notes that something runs that Close has to wait for.
func (db *DB) begin() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return storage.ErrClosed
	}
	db.running.Add(1)
	return nil
}

// Append stores events. They are durable when it returns; those that clash
// with the types of properties are in the Ack's rejections, the rest is stored.
func (db *DB) Append(ctx context.Context, events []event.Event) (storage.Ack, error) {
	b := event.NewBuilder()
	types := map[string]event.Type{}
	var rejected []storage.Rejection
	var index []int // of the events in the batch
	for i := range events {
		if reason := clash(types, &events[i]); reason != "" {
			rejected = append(rejected, storage.Rejection{Index: i, Reason: reason})
			continue
		}
		b.Add(events[i])
		index = append(index, i)
	}
	if len(index) == 0 {
		return storage.Ack{Rejected: rejected}, nil
	}
	ack, err := db.store.Append(ctx, b.Batch(), storage.AppendOptions{})
	for _, r := range ack.Rejected {
		r.Index = index[r.Index]
		rejected = append(rejected, r)
	}
	ack.Rejected = rejected
	return ack, err
}

// clash says why an event's properties do not go with those of the events
// before it in the same batch, whose columns have one type each. What goes with
// the store's own types is for the store to say.
func clash(types map[string]event.Type, e *event.Event) string {
	for _, p := range e.Props {
		t := p.Value.Type()
		if t == event.None {
			continue
		}
		before, ok := types[p.Name]
		if ok && before != t && !(before.Numeric() && t.Numeric()) {
			return fmt.Sprintf("property %q is %s in the events before, not %s", p.Name, before, t)
		}
	}
	for _, p := range e.Props {
		if t := p.Value.Type(); t != event.None && types[p.Name] != event.FloatType {
			types[p.Name] = t
		}
	}
	return ""
}

// AppendBatch stores a batch as the options say.
func (db *DB) AppendBatch(ctx context.Context, b *event.Batch, opt storage.AppendOptions) (storage.Ack, error) {
	return db.store.Append(ctx, b, opt)
}

// Sync makes everything up to an LSN durable.
func (db *DB) Sync(ctx context.Context, lsn uint64) error { return db.store.Sync(ctx, lsn) }

// Link says that an identity belongs to a customer, for all events that came
// and will come under it.
func (db *DB) Link(ctx context.Context, from, to string) error { return db.store.Link(ctx, from, to) }

// Unlink takes a link back.
func (db *DB) Unlink(ctx context.Context, from string) error {
	defer db.models.clear()
	return db.store.Unlink(ctx, from)
}

// Links lists all links.
func (db *DB) Links() []storage.Link { return db.store.Links() }

// Undo takes a whole import back.
func (db *DB) Undo(ctx context.Context, importID string) (events int64, err error) {
	defer db.models.clear()
	return db.store.Undo(ctx, importID)
}

// Compact brings the store into its final shape now.
func (db *DB) Compact(ctx context.Context) error { return db.store.Compact(ctx) }

// Verify reads everything that is stored and checks it.
func (db *DB) Verify(ctx context.Context) (storage.Report, error) { return db.store.Check(ctx) }

// Backup copies the store, as it is now, into a directory, while it is used. A
// directory with an earlier backup of it gets what is new; see storage.Backup.
func (db *DB) Backup(ctx context.Context, dir string, opt storage.BackupOptions) (storage.Backup, error) {
	return db.store.Backup(ctx, dir, opt)
}

// Restore makes a store in dir, which is absent or empty, of a backup; see storage.Restore.
func Restore(ctx context.Context, backup, dir string, opt Options, how storage.RestoreOptions) (storage.Restored, error) {
	if opt.Logger != nil {
		opt.Storage.Log = opt.Logger
	}
	return storage.Restore(ctx, backup, dir, opt.Storage, how)
}

// Upgrade raises the store to the newest format that this release knows;
// releases that do not know it no longer open it then.
func (db *DB) Upgrade(ctx context.Context) (from, to int, err error) { return db.store.Upgrade(ctx) }

// Status says what is stored and how.
func (db *DB) Status() storage.Status { return db.store.Status() }

// Store is the store below, for what needs no language: bulk loads, dumps.
func (db *DB) Store() *storage.Store { return db.store }

// Schema lists the names there are to query, and the definitions.
func (db *DB) Schema() (*event.Schema, []event.Definition, error) {
	snap, err := db.snapshot()
	if err != nil {
		return nil, nil, err
	}
	defer snap.Release()
	return snap.Schema(), snap.Definitions(), nil
}

// checkedMax is how many statements Check takes: each of them may look at all
// definitions that there are.
const checkedMax = 1000

// Check looks for mistakes in a script without running it. Its error is
// query.Errors if there are any, and ctx's when that ends before. Definitions
// count for the statements after them, but are not stored. A script may have
// 1 MiB and 1,000 statements.
func (db *DB) Check(ctx context.Context, text string, opts ...QueryOption) error {
	if err := db.begin(); err != nil {
		return err
	}
	defer db.running.Done()
	turn := db.turns.claim().turn()
	defer turn.end()
	var statements []*query.Statement
	err := db.reading(ctx, turn, text, func() (err error) {
		statements, err = query.Parse(text)
		return err
	})
	if err != nil {
		return err
	}
	if n := len(statements); n > checkedMax {
		return query.Errors{{Code: "too_many_statements", Message: fmt.Sprintf("these are %d statements; the limit is %d", n, checkedMax),
			Hint: "check them in parts", Span: statements[checkedMax].Span, Text: text}}
	}
	snap, err := db.snapshot()
	if err != nil {
		return err
	}
	defer snap.Release()
	c := snap.catalog(NewQuerySettings(opts...))
	var mistakes query.Errors
	for _, s := range statements {
		if err := turn.yield(ctx); err != nil {
			return err
		}
		err := checkStatement(s, c)
		if errs, ok := err.(query.Errors); ok {
			mistakes = append(mistakes, errs...)
		} else if err != nil {
			return err
		}
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}

func checkStatement(s *query.Statement, c *query.Catalog) error {
	switch {
	case s.Define != nil:
		d, _, err := query.CheckDefine(s, c)
		if err == nil {
			c.Definitions = withDefinition(c.Definitions, d)
		}
		return err
	case s.Drop != nil:
		name, err := query.CheckDrop(s, c)
		if err == nil {
			c.Definitions = withoutDefinition(c.Definitions, name)
		}
		return err
	}
	_, err := query.Bind(s, c)
	return err
}

func withDefinition(list []event.Definition, d event.Definition) []event.Definition {
	return append(withoutDefinition(list, d.Name), d)
}

func withoutDefinition(list []event.Definition, name string) []event.Definition {
	var rest []event.Definition
	for _, d := range list {
		if d.Name != name {
			rest = append(rest, d)
		}
	}
	return rest
}

// Complete lists what may stand at a position of a text, and from which byte
// on it would be replaced. A DB that cannot be read completes keywords only.
// Nothing is completed in a text that is longer than a statement may be, when ctx
// has ended, and when the DB is closed.
func (db *DB) Complete(ctx context.Context, text string, cursor int) (items []query.Completion, from int) {
	nowhere := min(max(cursor, 0), len(text))
	if shortEnough(text) != nil || db.begin() != nil {
		return nil, nowhere
	}
	defer db.running.Done()
	turn := db.turns.claim().turn()
	defer turn.end()
	err := db.reading(ctx, turn, text, func() error {
		snap, err := db.snapshot()
		if err != nil {
			items, from = query.Complete(text, cursor, nil, nil)
			return nil
		}
		defer snap.Release()
		items, from = query.Complete(text, cursor, snap.catalog(QuerySettings{}), func(property, prefix string, limit int) []string {
			values, _ := snap.Values(property, prefix, limit)
			return values
		})
		return nil
	})
	if err != nil {
		return nil, nowhere
	}
	return items, from
}

// pinned is a store's snapshot as the engine needs it.
type pinned struct{ *storage.Snapshot }

// snapshot pins the newest state; the caller releases it.
func (db *DB) snapshot() (pinned, error) {
	if db.opt.ReadOnly {
		if err := db.store.Refresh(); err != nil {
			return pinned{}, err
		}
	}
	for {
		snap, err := db.store.Snapshot()
		if err != nil {
			return pinned{}, err
		}
		if err = snap.Ready(); err == nil {
			return pinned{snap}, nil
		}
		snap.Release()
		if !db.store.SetAside(err) {
			return pinned{}, err
		}
	}
}

// Missing lists damaged data that the tiles leave out.
func (p pinned) Missing() []Missing {
	var list []Missing
	for _, m := range p.Snapshot.Missing() {
		list = append(list, Missing(m))
	}
	return list
}

// catalog is what the binder knows of the snapshot.
func (p pinned) catalog(s QuerySettings) *query.Catalog {
	c := &query.Catalog{Schema: p.Schema(), Definitions: p.Definitions(), Params: s.Params, Lenient: s.Lenient}
	var ok bool
	c.EndOfData, ok = p.EndOfData()
	c.Empty = !ok
	c.HasValue = func(property, value string) (known, sure bool) {
		values, complete := p.Values(property, value, 1) // in order: the value itself comes first of those that begin with it
		if len(values) > 0 && values[0] == value {
			return true, true
		}
		return false, complete
	}
	return c
}
