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

const ledgerVersion = 1

// keyed is the keyed hash of a name: whoever has the key and a name can tell
// whether they belong together, nobody can read the name.
func keyed(key []byte, kind, name string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(kind + "\x00" + name))
	return hex.EncodeToString(mac.Sum(nil))
}

func keyedIdentity(key []byte, name string) string { return keyed(key, "identity", name) }

// LedgerPath is where a store's ledger is if nothing else was said.
func LedgerPath(dir string) string { return path.Clean(dir) + ".erased" }

func (s *Store) ledgerPath() string {
	if s.opt.Ledger != "" {
		return s.opt.Ledger
	}
	return LedgerPath(s.dir)
}

// ReadLedger reads a ledger. The error of one that is not there is fs.ErrNotExist.
func ReadLedger(fsys vfs.FS, name string) (*Ledger, error) {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	data, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read the ledger of erasures %s: %w", name, err)
	}
	l, err := parseLedger(data)
	if err != nil {
		return nil, fmt.Errorf("read the ledger of erasures %s: %w", name, err)
	}
	return l, nil
}

func parseLedger(data []byte) (*Ledger, error) {
	lines := strings.Split(string(data), "\n")
	if len(lines) < 3 || lines[len(lines)-1] != "" {
		return nil, corrupt("it ends early")
	}
	lines = lines[:len(lines)-1]
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
	var end ledgerEnd
	if err := errors.Join(decode(0, &head), decode(len(lines)-1, &end)); err != nil {
		return nil, err
	}
	if head.Version > ledgerVersion {
		return nil, fmt.Errorf("%w: its version is %d, and this release reads %d", ErrNewer, head.Version, ledgerVersion)
	}
	l := &Ledger{Key: head.Key}
	if n, err := hex.Decode(l.Store[:], []byte(head.Store)); err != nil || n != len(l.Store) || head.Version < 1 {
		return nil, corrupt("line 1: it is not that of a ledger")
	}
	for i := 1; i < len(lines)-1; i++ {
		var e LedgerEntry
		if err := decode(i, &e); err != nil {
			return nil, err
		}
		l.Entries = append(l.Entries, e)
	}
	if end.Entries == nil || *end.Entries != len(l.Entries) {
		return nil, corrupt("it has %d entries, and its last line does not say so", len(l.Entries))
	}
	return l, nil
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
// already. Entries that only the file has stay: an older copy of the store may
// have been put in its place.
func (s *Store) keepLedger(st *state) error {
	if len(st.erasures) == 0 || seeded.On("ledger_not_written") {
		return nil
	}
	name := s.ledgerPath()
	old, err := vfs.ReadFile(s.fs, name)
	if err != nil && !isNotExist(err) {
		return fmt.Errorf("read the ledger of erasures %s: %w", name, err)
	}
	kept := s.ledger
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
		case err != nil && !errors.Is(err, ErrCorrupt): // of a damaged one, what the store knows is better
			return fmt.Errorf("read the ledger of erasures %s: %w", name, err)
		case err == nil && old.Store != st.store:
			return fmt.Errorf("%s is the ledger of another store; move it away, or name another file", name)
		case err == nil:
			theirs, ours := old.ids(), l.ids()
			if !slices.ContainsFunc(l.Entries, func(e LedgerEntry) bool { return !theirs[e.ID] }) {
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
	s.ledger = nil
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
	s.ledger = &ledgerKept{xxhash.Sum64(data), entries, 1 + bytes.LastIndexByte(data[:len(data)-1], '\n')}
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

// recordLedger makes the entries that are new to the store erasures of its own.
// They come behind those that it knows, or, where it is the store that made
// them, have the numbers that they had.
func (s *Store) recordLedger(ctx context.Context, l *Ledger, done *Applied, own bool) (numbers []uint64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := errors.Join(ctx.Err(), s.erasable()); err != nil {
		return nil, err
	}
	if l.Store != s.state().store {
		return nil, fmt.Errorf("it is the ledger of store %x, this is %x", l.Store, s.state().store)
	}
	e := &edit{Epoch: s.state().epoch + 1}
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
	var fresh []*eraseRecord
	for _, x := range l.Entries {
		if slices.ContainsFunc(s.state().erasures, func(r eraseRecord) bool { return r.ID == x.ID }) {
			continue
		}
		n := x.Number
		if !own || s.state().erasure(n) || slices.Contains(numbers, n) {
			number++
			n = number
		}
		r := &eraseRecord{Number: n, ID: x.ID, LSN: x.LSN, Requested: x.At, After: x.After, Request: x.Request, Identities: x.Identities, Key: x.Key, Lifts: x.Lifts}
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
		numbers = append(numbers, n)
	}
	done.New = len(fresh)
	if len(fresh) == 0 {
		return nil, nil
	}
	found := map[*eraseRecord]bool{}
	seen := map[string]bool{}
	err = s.names(func(name string) {
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
	if err != nil {
		return nil, err
	}
	done.Found = len(found)
	for _, r := range fresh {
		slices.Sort(r.Names)
		e.Erase = append(e.Erase, *r)
	}
	return numbers, s.recordErasures(e, false)
}

// names calls see with every identity of the store, some of them more than
// once. The caller holds writing.
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
	s.mu.Lock()
	defer s.mu.Unlock()
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
