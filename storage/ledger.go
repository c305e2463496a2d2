package storage

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"wend/event"
	"wend/internal/seeded"
	"wend/storage/vfs"
)

// Ledger is what a store tells of its erasures to older copies of itself: who
// was erased, as keyed hashes, and how far. It lies beside the store, not in
// it, so that a backup that is put in the store's place does not bring back
// the erased with it.
//
// The file has a line for the store, one for each erasure and one that says how
// many there are; a line is its CRC32C in hexadecimal, a space, and JSON. It is
// always written whole.
type Ledger struct {
	Store   [16]byte
	Key     []byte // of the hashes
	Entries []LedgerEntry
}

// LedgerEntry is one erasure.
type LedgerEntry struct {
	Number     uint64     `json:"number"`
	ID         string     `json:"id"`
	LSN        uint64     `json:"lsn"` // events up to it are erased
	At         event.Time `json:"at"`  // when it was asked for
	After      string     `json:"after"`
	Request    string     `json:"request"`
	Identities []string   `json:"identities"` // HMAC-SHA-256 in hexadecimal
	Key        []byte     `json:"key,omitempty"`
	Lifts      []string   `json:"lifts,omitempty"` // of those in Identities of earlier erasures
}

type ledgerHead struct {
	Version int    `json:"wend_erased"`
	Store   string `json:"store"`
	Key     []byte `json:"key"`
}

type ledgerEnd struct {
	Entries *int `json:"entries"` // nil: it is another line
}

const (
	ledgerVersion = 1
	damagedSuffix = ".damaged" // of what a damaged ledger is called when it has been written anew
)

// keyed is the keyed hash of a name: whoever has the key and a name can tell
// whether they belong together, nobody can read the name.
func keyed(key []byte, kind, name string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(kind + "\x00" + name))
	return hex.EncodeToString(mac.Sum(nil))
}

func keyedIdentity(key []byte, name string) string { return keyed(key, "identity", name) }

// LedgerPath is what the ledger of the store in a folder is called. It lies
// beside the folder itself, by whatever names and links that is reached.
func LedgerPath(dir string) string { return path.Clean(dir) + ".erased" }

// ledgers are the names of the ledger of the store in a folder: first that which
// is always written, then one by which an earlier release may have kept it, beside a
// link or, of a folder that was called ".", in the folder.
func (o Options) ledgers(dir string) []string {
	named := LedgerPath(dir)
	files, ok := o.FS.(vfs.Resolver)
	switch {
	case o.Ledger != "":
		return []string{o.Ledger}
	case !ok:
		return []string{named}
	}
	real := LedgerPath(files.Resolve(dir))
	if path.Join(files.Resolve(path.Dir(named)), path.Base(named)) == real {
		return []string{named} // shorter, and what the user calls it
	}
	return []string{real, named}
}

// readLedgers reads the first of some ledgers that is there, and returns its
// name; or that of the first, with an error that is fs.ErrNotExist.
func readLedgers(fsys vfs.FS, names []string) (*Ledger, string, error) {
	for _, name := range names {
		if l, err := ReadLedger(fsys, name); !isNotExist(err) {
			return l, name, err
		}
	}
	l, err := ReadLedger(fsys, names[0])
	return l, names[0], err
}

// ReadLedger reads a ledger. The error of one that is not there is fs.ErrNotExist.
// Of a damaged one it may return, with the error, the entries that are sound.
func ReadLedger(fsys vfs.FS, name string) (*Ledger, error) {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	var l *Ledger
	data, err := vfs.ReadFile(fsys, name)
	if err == nil {
		l, err = parseLedger(data)
	}
	if err != nil {
		return l, fmt.Errorf("read the ledger of erasures %s: %w", name, err)
	}
	return l, nil
}

// parseLedger reads the bytes of a ledger. Of a damaged one whose first line is
// sound it returns the entries that are, too, with the error.
func parseLedger(data []byte) (*Ledger, error) {
	var damage error // the first
	damaged := func(err error) {
		if damage == nil {
			damage = err
		}
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) < 3 || lines[len(lines)-1] != "" {
		damaged(corrupt("it ends early"))
	}
	lines = lines[:len(lines)-1]
	if len(lines) == 0 {
		return nil, damage
	}
	decode := func(i int, v any) error {
		sum, text, ok := strings.Cut(lines[i], " ")
		if !ok || sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli)) {
			return corrupt("line %d: checksum mismatch", i+1)
		}
		strict := json.NewDecoder(strings.NewReader(text))
		if i > 0 {
			strict.DisallowUnknownFields() // an entry is no last line
		}
		if err := strict.Decode(v); err != nil {
			return corrupt("line %d: %v", i+1, err)
		}
		return nil
	}
	var head ledgerHead
	if err := decode(0, &head); err != nil {
		return nil, err
	}
	if head.Version > ledgerVersion {
		return nil, fmt.Errorf("%w: its version is %d, and this release reads %d", ErrNewer, head.Version, ledgerVersion)
	}
	l := &Ledger{Key: head.Key}
	if n, err := hex.Decode(l.Store[:], []byte(head.Store)); err != nil || n != len(l.Store) || head.Version < 1 {
		return nil, corrupt("line 1: it is not that of a ledger")
	}
	var end ledgerEnd
	for i := 1; i < len(lines); i++ {
		if i == len(lines)-1 && decode(i, &end) == nil {
			break
		}
		var e LedgerEntry
		if err := decode(i, &e); err != nil {
			damaged(err)
			continue
		}
		l.Entries = append(l.Entries, e)
	}
	if end.Entries == nil || *end.Entries != len(l.Entries) {
		damaged(corrupt("it has %d entries, and its last line does not say so", len(l.Entries)))
	}
	return l, damage
}

func (l *Ledger) encode() ([]byte, error) {
	head, err := ledgerLine(ledgerHead{ledgerVersion, hex.EncodeToString(l.Store[:]), l.Key})
	if err != nil {
		return nil, err
	}
	return lengthen(head, 0, l.Entries)
}

// lengthen returns the bytes of a ledger with further entries. Of the ledger it
// is given all lines but the last, and how many entries they are.
func lengthen(lines []byte, entries int, more []LedgerEntry) ([]byte, error) {
	data := slices.Clone(lines)
	for _, e := range more {
		line, err := ledgerLine(e)
		if err != nil {
			return nil, err
		}
		data = append(data, line...)
	}
	entries += len(more)
	end, err := ledgerLine(ledgerEnd{&entries})
	return append(data, end...), err
}

func ledgerLine(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, castagnoli), text), err
}

// ledger is what the state knows of the store's erasures.
func (st *state) ledger() *Ledger {
	l := &Ledger{Store: st.store, Key: st.eraseKey}
	for _, r := range st.erasures {
		l.Entries = append(l.Entries, r.ledgerEntry())
	}
	return l
}

func (r *eraseRecord) ledgerEntry() LedgerEntry {
	return LedgerEntry{r.Number, r.ID, r.LSN, r.Requested, r.After, r.Request, r.Identities, r.Key, r.Lifts}
}

// ledgerKept is what a store knows of the ledger that it wrote last. As long as
// the file still is that one, the next erasure is a line more: many of them one
// after the other need not each read what all before them wrote.
type ledgerKept struct {
	sum     uint64          // of the file's bytes
	entries map[string]bool // their ids
	end     int             // where the last line begins
}

// keepLedger writes the ledger beside the store, unless all of it stands there
// already; and by its other names where it is there: a restore may find it by
// those only. Entries that only a file has stay: an older copy of the store may
// have been put in its place.
func (s *Store) keepLedger(st *state) error {
	if len(st.erasures) == 0 || seeded.On("ledger_not_written") {
		return nil
	}
	var errs []error
	for i, name := range s.ledgerNames {
		if i > 0 {
			if l, _ := ReadLedger(s.fs, name); l == nil || l.Store != st.store {
				continue // what cannot be read is told at the opening
			}
		}
		errs = append(errs, s.keepLedgerAs(name, st))
	}
	return errors.Join(errs...)
}

// keepLedgerAs is keepLedger for one of the names.
func (s *Store) keepLedgerAs(name string, st *state) error {
	old, err := vfs.ReadFile(s.fs, name)
	if err != nil && !isNotExist(err) {
		return fmt.Errorf("read the ledger of erasures %s: %w", name, err)
	}
	kept := s.ledgersKept[name]
	if err != nil || kept == nil || kept.sum != xxhash.Sum64(old) {
		return s.joinLedger(st, name, old, err == nil)
	}
	var fresh []LedgerEntry
	for i := range st.erasures {
		if r := &st.erasures[i]; !kept.entries[r.ID] {
			fresh = append(fresh, r.ledgerEntry())
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	data, err := lengthen(old[:kept.end], len(kept.entries), fresh)
	if err != nil {
		return err
	}
	return s.writeLedger(name, data, kept.entries, fresh)
}

// joinLedger is keepLedger where the file is not there, or not the one that
// this store wrote last.
func (s *Store) joinLedger(st *state, name string, data []byte, there bool) error {
	l := st.ledger()
	if there {
		old, err := parseLedger(data)
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt):
			return fmt.Errorf("read the ledger of erasures %s: %w", name, err)
		case old != nil && old.Store != st.store:
			return fmt.Errorf("%s is the ledger of another store; move it away, or name another file", name)
		case err != nil: // what cannot be read of it may be of use to somebody
			kept := s.linkAside(name, name+damagedSuffix)
			if kept != nil { // there are disks without links
				kept = writeFile(s.fs, name+damagedSuffix, data)
			}
			if kept != nil {
				return fmt.Errorf("keep the damaged ledger of erasures %s: %w", name, kept)
			}
		}
		if old != nil {
			theirs, ours := old.ids(), l.ids()
			if err == nil && !slices.ContainsFunc(l.Entries, func(e LedgerEntry) bool { return !theirs[e.ID] }) {
				return nil
			}
			for _, e := range old.Entries {
				if ours[e.ID] {
					continue
				}
				if e.Key == nil && !bytes.Equal(old.Key, l.Key) {
					e.Key = old.Key
				}
				l.Entries = append(l.Entries, e)
			}
		}
	}
	data, err := l.encode()
	if err != nil {
		return err
	}
	return s.writeLedger(name, data, map[string]bool{}, l.Entries)
}

// writeLedger writes the ledger anew, and notes what stands in it: some entries
// and fresh ones.
func (s *Store) writeLedger(name string, data []byte, entries map[string]bool, fresh []LedgerEntry) error {
	delete(s.ledgersKept, name)
	err := writeFile(s.fs, name, data)
	if err == nil {
		err = s.fs.SyncDir(path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("keep the ledger of erasures: %w", err)
	}
	for _, e := range fresh {
		entries[e.ID] = true
	}
	s.ledgersKept[name] = &ledgerKept{xxhash.Sum64(data), entries, 1 + bytes.LastIndexByte(data[:len(data)-1], '\n')}
	return nil
}

func (l *Ledger) ids() map[string]bool {
	ids := map[string]bool{}
	for _, e := range l.Entries {
		ids[e.ID] = true
	}
	return ids
}

// Applied is what ApplyLedger did.
type Applied struct {
	Entries int // of the ledger
	New     int // that the store did not know of
	Found   int // of those, how many had something here to erase
	Files   int64
	Bytes   int64
}

// ApplyLedger does again what a ledger says was erased and this store, an older
// copy, still has. It returns when nothing of them is left. Call it before
// anybody is served.
func (s *Store) ApplyLedger(ctx context.Context, l *Ledger) (Applied, error) {
	done := Applied{Entries: len(l.Entries)}
	numbers, err := s.recordLedger(ctx, l, &done, false)
	if err != nil {
		return done, fmt.Errorf("apply the ledger of erasures: %w", err)
	}
	for {
		worked, err := s.EraseStep(ctx)
		if err != nil {
			return done, fmt.Errorf("apply the ledger of erasures: %w", err)
		}
		if !worked {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.state().erasures {
		if !slices.Contains(numbers, r.Number) {
			continue
		}
		if r.Finished == 0 {
			return done, fmt.Errorf("apply the ledger of erasures: a snapshot is held that shows what is to be erased; release it and call again")
		}
		done.Files += r.Files
		done.Bytes += r.Bytes
	}
	return done, nil
}

// recordLedger makes the entries that are new to the store erasures of its own,
// see lacking.
func (s *Store) recordLedger(ctx context.Context, l *Ledger, done *Applied, own bool) (numbers []uint64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := errors.Join(ctx.Err(), s.erasable()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	e, err := s.lacking(l, done, own)
	s.mu.Unlock()
	if err != nil || e == nil {
		return nil, err
	}
	for _, r := range e.Erase {
		numbers = append(numbers, r.Number)
	}
	return numbers, s.recordErasures(e, false)
}

// eraseAgain does again what the ledger beside the store says was erased and the
// state does not: an older copy of the store stands in its place. Nobody is
// served yet; what it hides goes from the disk soon after. A copy that took
// events since is refused, unless the options have it erased all the same: with
// the erased would go what was acknowledged after their erasure.
func (s *Store) eraseAgain(ctx context.Context) error {
	if seeded.On("copy_opened_as_it_is") {
		return nil
	}
	return s.eachLedger(true, func(name string, l *Ledger) error {
		if err := s.wentOn(name, l); err != nil {
			return err
		}
		done := Applied{}
		err := s.removing(func() (err error) {
			if s.state().format < 2 { // which knows no erasures; the store had a later one
				_, _, err = s.Upgrade(ctx)
			}
			if err == nil {
				_, err = s.recordLedger(ctx, l, &done, false)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("erase again whom %s names, of whom this copy of the store does not know: %w", name, err)
		}
		if done.New > 0 {
			s.opt.Log.Warn("this is an older copy of the store: who was erased since is erased again", "ledger", name, "erasures", done.New, "found", done.Found)
		}
		return nil
	})
}

// wentOn is the error of a store that took events after erasures of a ledger of
// which it does not know.
func (s *Store) wentOn(name string, l *Ledger) error {
	if s.opt.EraseAgain || seeded.On("copy_that_went_on_erased") {
		return nil
	}
	newest, known, since := s.mem.received, s.state().ledger().ids(), 0
	if at := s.state().received; at != 0 { // 0: nothing is in segments that came after 1970
		newest = max(newest, at)
	}
	for _, e := range l.Entries {
		if !known[e.ID] && e.At < newest {
			since++
		}
	}
	if since == 0 {
		return nil
	}
	return fmt.Errorf("%s names %d erasures of which this copy of the store does not know, and it took events after them, the newest at %s; to erase those customers again would take what came of them since, too: "+
		"to keep it all, move %s away, and nobody is erased again; to erase them, run wend check %s --erase-again", name, since, newest, name, s.dir)
}

// hideErased is eraseAgain for a store that is not written to: the erasures are
// in its memory only.
func (s *Store) hideErased() error {
	return s.eachLedger(false, func(name string, l *Ledger) error {
		e, err := s.lacking(l, &Applied{}, false)
		if err == nil && e != nil {
			err = s.hide(e)
		}
		if err != nil {
			return fmt.Errorf("hide whom %s names, of whom this copy of the store does not know: %w", name, err)
		}
		return nil
	})
}

// hide makes the state what an edit with erasures would make of it.
func (s *Store) hide(e *edit) error {
	gone := map[string]bool{}
	for _, r := range e.Erase {
		for _, name := range r.Names {
			gone[name] = true
		}
	}
	e.Unlink = s.state().linksOf(gone)
	st, err := s.state().apply(e)
	if err != nil {
		return err
	}
	s.published.Store(st)
	s.oldWAL = nil
	return s.load()
}

// eachLedger calls do with every ledger of the store that is not empty, and its
// name; with the sound entries of one that is damaged. One that cannot be read
// for another reason is passed over, or, if all must be read, an error.
func (s *Store) eachLedger(all bool, do func(name string, l *Ledger) error) error {
	for _, name := range s.ledgerNames {
		l, err := ReadLedger(s.fs, name)
		if isNotExist(err) {
			continue
		}
		if err != nil && all && !errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("%w; who was erased may stand in it: make it readable, or move it away", err)
		}
		if err != nil {
			s.opt.Log.Warn("ledger of erasures", "error", err)
		}
		if l == nil {
			continue
		}
		if len(l.Entries) == 0 || l.Store != s.state().store { // of another store keepLedger tells
			continue
		}
		if err := do(name, l); err != nil {
			return err
		}
	}
	return nil
}

// lacking is the edit that makes the entries that are new to the store erasures
// of its own; nil if none is. They come behind those that it knows, and erase all
// that is here; or, where it is the store that made them, they are what they
// were. The caller holds writing and mu, or is the only one.
func (s *Store) lacking(l *Ledger, done *Applied, own bool) (*edit, error) {
	if l.Store != s.state().store {
		return nil, fmt.Errorf("it is the ledger of store %x, this is %x", l.Store, s.state().store)
	}
	e := &edit{Epoch: s.nextEpoch()}
	key := s.state().eraseKey
	if key == nil {
		key, e.EraseKey = l.Key, l.Key
	}
	number := s.state().lastErasure()
	if own {
		for _, x := range l.Entries {
			number = max(number, x.Number)
		}
	}
	byHash := map[string]map[string]*eraseRecord{} // by key and hash
	known := s.state().ledger().ids()
	var fresh []*eraseRecord
	for _, x := range l.Entries {
		if known[x.ID] {
			continue
		}
		n, lsn := x.Number, x.LSN
		if !own {
			lsn = max(lsn, s.lsn)
		}
		if !own || s.state().erasure(n) || slices.ContainsFunc(fresh, func(r *eraseRecord) bool { return r.Number == n }) {
			number++
			n = number
		}
		r := &eraseRecord{Number: n, ID: x.ID, LSN: lsn, Requested: x.At, After: x.After, Request: x.Request, Identities: x.Identities, Key: x.Key, Lifts: x.Lifts}
		if r.Key == nil && !bytes.Equal(key, l.Key) {
			r.Key = l.Key
		}
		of := key
		if r.Key != nil {
			of = r.Key
		}
		if byHash[string(of)] == nil {
			byHash[string(of)] = map[string]*eraseRecord{}
		}
		for _, h := range x.Identities {
			byHash[string(of)][h] = r
		}
		fresh = append(fresh, r)
	}
	done.New = len(fresh)
	if len(fresh) == 0 {
		return nil, nil
	}
	seen := map[string]bool{}
	found := map[*eraseRecord]bool{}
	for {
		err := s.names(func(name string) {
			if seen[name] {
				return
			}
			seen[name] = true
			for of, hashes := range byHash {
				if r := hashes[keyedIdentity([]byte(of), name)]; r != nil {
					r.Names = append(r.Names, name)
					found[r] = true
				}
			}
		})
		if err == nil {
			break
		}
		if !s.leaveOut(err) { // what is damaged goes as a whole
			return nil, err
		}
	}
	done.Found = len(found)
	for _, r := range fresh {
		slices.Sort(r.Names)
		e.Erase = append(e.Erase, *r)
	}
	return e, nil
}

// names calls see with every identity of the store, some of them more than
// once. The caller holds writing and mu, or is the only one.
func (s *Store) names(see func(string)) error {
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil {
			continue
		}
		for b := range 1 << f.seg.PrefixBits {
			block := f.block(b)
			if block == nil {
				continue
			}
			names, err := s.cache.names(block, false)
			if err != nil {
				return err
			}
			for i := range names.Len() {
				see(names.At(i))
			}
		}
	}
	for from, to := range s.state().links.all() {
		see(from)
		see(to)
	}
	for _, b := range s.mem.batches {
		for _, name := range b.batch.Customer {
			see(name)
		}
	}
	return nil
}
