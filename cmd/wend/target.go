package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"wend/client"
	"wend/engine"
	"wend/event"
	"wend/ingest"
	"wend/storage"
)

// target is where imported events go, source by source.
type target interface {
	known(ctx context.Context) (map[string]event.Type, []event.Definition, error) // the types of properties there, and definitions
	begin(ctx context.Context, source string) error
	add(ctx context.Context, b *event.Batch) error
	finish(ctx context.Context) (storage.LoadResult, error)
	abort()
	counts() bool // whether finish tells the number of customers
	sent() int64  // events of an unfinished source that stay all the same
	missing() []storage.Missing
	close() error
}

// openTarget opens what DB names for importing. Files that cannot be read do
// not leave a new, empty store behind.
func openTarget(ctx context.Context, remote *remoteFlags, db string, files []string, opt ingest.Options) (target, error) {
	if isURL(db) {
		c, err := remote.client(db)
		return &serverTarget{client: c}, err
	}
	if found, err := lookAt(db); err == nil && found == nothing && !slices.ContainsFunc(files, isStream) {
		r, err := openFiles(ctx, files, opt)
		if err != nil {
			return nil, err
		}
		r.Close()
	}
	store, err := openStore(db, making)
	return &folderTarget{db: store}, err
}

// folderTarget imports a source into a store: all of it or nothing.
type folderTarget struct {
	db   *engine.DB
	load *storage.Load
}

func (t *folderTarget) known(context.Context) (map[string]event.Type, []event.Definition, error) {
	schema, definitions, err := t.db.Schema()
	if err != nil {
		return nil, nil, err
	}
	return typesOf(schema), definitions, nil
}

func typesOf(schema *event.Schema) map[string]event.Type {
	known := map[string]event.Type{}
	for _, p := range schema.Known().Properties {
		known[p.Name] = p.Type
	}
	return known
}

func (t *folderTarget) begin(ctx context.Context, source string) (err error) {
	t.load, err = t.db.Store().NewLoad(ctx, storage.LoadOptions{Source: source})
	return err
}

func (t *folderTarget) add(_ context.Context, b *event.Batch) error { return t.load.Add(b) }

func (t *folderTarget) finish(ctx context.Context) (storage.LoadResult, error) {
	load := t.load
	t.load = nil
	return load.Commit(ctx)
}

func (t *folderTarget) abort() {
	if t.load != nil {
		t.load.Abort()
		t.load = nil
	}
}

func (t *folderTarget) counts() bool { return true }
func (t *folderTarget) sent() int64  { return 0 }
func (t *folderTarget) close() error { return t.db.Close() }

// missing is what the store lacks: events of it that came again counted as new.
func (t *folderTarget) missing() []storage.Missing { return t.db.Store().Summary().Missing }

// sendEvents is how many events go to a server at once: small enough that
// little is repeated when a connection breaks, with texts of at most sendBytes
// and at most sendCells events times names of properties, because servers bound
// what they take at once: events beyond it are rejected for good.
const (
	sendEvents = 5000
	sendBytes  = 4 << 20
	sendCells  = 1_000_000
)

// serverTarget sends events to a server. A batch is taken whole or not at all;
// a source may be taken in part, and sending it again adds the rest, because
// every event has an id, or one that follows from the file: see storage.RowID.
type serverTarget struct {
	client *client.Client
	run    string // distinguishes the tokens of this run
	batch  int
	seen   map[[16]byte]uint32 // rows without id that came before in the source, but for rejected ones
	done   storage.LoadResult
	before int // events of the source sent so far
}

func (t *serverTarget) known(ctx context.Context) (map[string]event.Type, []event.Definition, error) {
	schema, definitions, err := t.client.Schema(ctx)
	if err != nil {
		return nil, nil, err
	}
	return typesOf(schema), definitions, nil
}

func (t *serverTarget) begin(context.Context, string) error {
	if t.run == "" {
		t.run = rand.Text()
	}
	t.seen, t.done, t.before = map[[16]byte]uint32{}, storage.LoadResult{}, 0
	return nil
}

func (t *serverTarget) add(ctx context.Context, b *event.Batch) error {
	var events []event.Event
	bytes, names := 0, map[string]bool{}
	send := func() error {
		err := t.send(ctx, events)
		events, bytes = events[:0], 0
		clear(names)
		return err
	}
	for i := range b.Len() {
		e := b.At(i)
		others := 0
		for _, p := range e.Props {
			if !names[p.Name] {
				others++
			}
		}
		if len(events) > 0 && (len(events)+1)*(len(names)+others) > sendCells {
			if err := send(); err != nil {
				return err
			}
		}
		events = append(events, e)
		bytes += len(e.Customer) + len(e.Name)
		for _, p := range e.Props {
			bytes += len(p.Name) + len(p.Value.Text())
			names[p.Name] = true
		}
		if len(events) < sendEvents && bytes < sendBytes && i < b.Len()-1 {
			continue
		}
		if err := send(); err != nil {
			return err
		}
	}
	return nil
}

// send sends a batch, in which rows without an id get one.
func (t *serverTarget) send(ctx context.Context, events []event.Event) error {
	t.batch++
	hashes := make([][16]byte, len(events)) // zero: the event has an id of its own
	for i := range events {
		if e := &events[i]; e.ID == "" {
			hashes[i] = contentHash(e)
			e.ID = storage.RowID(hashes[i], int(t.seen[hashes[i]]))
			t.seen[hashes[i]]++
		}
	}
	ack, err := t.client.Append(ctx, events, fmt.Sprintf("%s-%d", t.run, t.batch))
	if err != nil {
		return err
	}
	t.done.Events += ack.Accepted
	t.done.Duplicates += ack.Duplicates
	t.done.Conflicts += ack.Conflicts
	t.done.Suppressed += ack.Suppressed
	for _, r := range ack.Rejected {
		t.done.Reject(storage.Rejection{Index: t.before + r.Index, Reason: r.Reason})
		if r.Index < len(hashes) && hashes[r.Index] != ([16]byte{}) {
			t.forget(hashes[r.Index])
		}
	}
	t.before += len(events)
	return nil
}

// forget takes back that a row stands in the source: it is not stored, and so
// not before any other.
func (t *serverTarget) forget(hash [16]byte) {
	if t.seen[hash]--; t.seen[hash] == 0 {
		delete(t.seen, hash)
	}
}

func (t *serverTarget) finish(context.Context) (storage.LoadResult, error) {
	done := t.done
	t.done = storage.LoadResult{}
	return done, nil
}

func (t *serverTarget) abort()       {}
func (t *serverTarget) counts() bool { return false }
func (t *serverTarget) sent() int64  { return t.done.Events }
func (t *serverTarget) close() error { return nil }

func (t *serverTarget) missing() []storage.Missing { return nil }

// contentHash hashes an event's fields. Rows that a store calls equal must have
// the same, or it would count one for the other: a number counts the same whether
// its column is of integers or of floats, which a longer file may change.
func contentHash(e *event.Event) [16]byte {
	var b []byte
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(e.Customer)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time))
	text(e.Name)
	text(e.Channel)
	slices.SortFunc(e.Props, func(p, q event.Prop) int { return strings.Compare(p.Name, q.Name) })
	for _, p := range e.Props {
		text(p.Name)
		f := p.Value.Float()
		if p.Value.Type().Numeric() && (p.Value.Type() == event.FloatType || int64(f) == p.Value.Int()) {
			b = append(b, byte(event.FloatType))
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f+0)) // -0 equals 0
			continue
		}
		b = append(b, byte(p.Value.Type()))
		text(p.Value.String())
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// isStream reports whether a file can be read only once.
func isStream(name string) bool {
	info, err := os.Stat(name)
	return name == "-" || err == nil && !info.Mode().IsRegular() && !info.IsDir()
}
