package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"wend/event"
	"wend/internal/seeded"
)

// Erasing a customer
//
// An erasure is an edit of the manifest: from then on, nothing shows an event
// that arrived before it under the customer's name or one that is linked to
// it. What is erased is decided by name and order of arrival, never by an
// event's own time, which its sender chose. Segments that hold such events get
// a mask, the memtable loses them at once, and replaying the log leaves them
// out.
//
// Then the bytes go, in steps that a crash may interrupt anywhere: the log is
// flushed, every segment with something to erase is written anew, names that
// nobody else uses leave the dictionaries, the manifest is written anew without
// anybody's name, and what these files replace is removed, durably. Of an
// erasure stay its number, its time and keyed hashes of the names.

// After says what becomes of events that arrive under an erased name later.
type After uint8

const (
	Allow    After = iota // they are stored: somebody new, or back again
	Suppress              // they are refused, and counted in the answer
)

var afterNames = [...]string{"allow", "suppress"}

// String is the name that options, receipts and the ledger use: allow or suppress.
func (a After) String() string { return afterNames[a] }

// ParseAfter reads the name of an After.
func ParseAfter(name string) (After, bool) {
	i := slices.Index(afterNames[:], name)
	return After(max(i, 0)), i >= 0
}

// EraseOptions say how a customer is erased.
type EraseOptions struct {
	After After
	Lift  bool // ends what an earlier erasure suppressed; without it Allow does not
}

// staysSuppressed warns whoever asked for Allow and does not get it.
const staysSuppressed = "an earlier erasure suppresses the customer, and goes on doing so: lift it if later events are to count"

// Receipt is what can be told of an erasure. It holds no personal data.
type Receipt struct {
	ID        string     `json:"id"`
	State     string     `json:"state"` // "rewriting": nothing shows the customer, files may; "done"
	After     string     `json:"after"`
	Requested time.Time  `json:"requested"`
	Finished  *time.Time `json:"finished"`        // nil until all bytes are gone
	Request   string     `json:"request_hash"`    // keyed hash of what was asked for
	LSN       uint64     `json:"lsn"`             // events up to it are erased
	Files     int64      `json:"files_rewritten"` // segments that held something of the customer
	Bytes     int64      `json:"bytes_rewritten"` // their size before
	Removed   []string   `json:"removed"`         // damaged files that might have held something: they are gone as a whole
	Lost      int64      `json:"lost_events"`     // that were in those files, of anybody
	Warnings  []string   `json:"warnings"`
}

// eraseRecord is what the manifest knows of an erasure.
type eraseRecord struct {
	Number     uint64     `json:"number"` // counts the store's erasures, from 1
	ID         string     `json:"id"`
	LSN        uint64     `json:"lsn"`
	WAL        uint64     `json:"wal,omitempty"` // log files below may hold something
	Requested  event.Time `json:"requested"`
	Finished   event.Time `json:"finished,omitempty"`
	After      string     `json:"after"`
	Request    string     `json:"request"`
	Identities []string   `json:"identities"`         // keyed hashes
	Key        []byte     `json:"key,omitempty"`      // of them, if it is not the store's
	Names      []string   `json:"names,omitempty"`    // in clear, until the rewriting is done
	Words      []string   `json:"words,omitempty"`    // names that rows of the customer and a definition have
	Values     []string   `json:"values,omitempty"`   // and values
	Cleaned    bool       `json:"cleaned,omitempty"`  // rewritten; replaced files may still be there
	Files      int64      `json:"files,omitempty"`    // rewritten
	Bytes      int64      `json:"bytes,omitempty"`    // of those files before
	Removed    []string   `json:"removed,omitempty"`  // damaged files
	Lost       int64      `json:"lost,omitempty"`     // events in them
	Warnings   []string   `json:"warnings,omitempty"` // what did not go as it should
	Lifts      []string   `json:"lifts,omitempty"`    // keyed hashes of names that are suppressed no longer
}

func (r *eraseRecord) receipt() Receipt {
	p := Receipt{ID: r.ID, State: "rewriting", After: r.After, Requested: r.Requested.Std(), Request: r.Request, LSN: r.LSN,
		Files: r.Files, Bytes: r.Bytes, Removed: r.Removed, Lost: r.Lost, Warnings: r.Warnings}
	if r.Finished != 0 {
		at := r.Finished.Std()
		p.State, p.Finished = "done", &at
	}
	if p.Removed == nil {
		p.Removed = []string{}
	}
	if p.Warnings == nil {
		p.Warnings = []string{}
	}
	return p
}

// lastErasure is the number of the newest erasure, 0 if there is none.
func (s *state) lastErasure() uint64 {
	if len(s.erasures) == 0 {
		return 0
	}
	return s.erasures[len(s.erasures)-1].Number
}

// erasureID is the ID of the erasure of a number, "" if there is none.
func (s *state) erasureID(number uint64) string {
	for i := range s.erasures {
		if s.erasures[i].Number == number {
			return s.erasures[i].ID
		}
	}
	return ""
}

// erasure reports whether a number is that of an erasure.
func (s *state) erasure(number uint64) bool {
	return slices.ContainsFunc(s.erasures, func(r eraseRecord) bool { return r.Number == number })
}

// erasing lists the erasures that are not finished.
func (s *state) erasing() []eraseRecord {
	var list []eraseRecord
	for _, r := range s.erasures {
		if r.Finished == 0 {
			list = append(list, r)
		}
	}
	return list
}

// ErrOldFormat says that the store's format has no room for what is asked.
var ErrOldFormat = errors.New("the store has an old format")

// erasable is the error of a store in which nothing can be erased.
func (s *Store) erasable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(true); err != nil {
		return err
	}
	if s.state().format < 2 {
		return fmt.Errorf("%w: it has format %d, and erasures need 2; run `wend upgrade %s` first", ErrOldFormat, s.state().format, s.dir)
	}
	return nil
}

// Erase makes a customer, and every identity linked to it, disappear. When it
// returns without an error the erasure is durable and no later snapshot shows
// anything of it; the bytes go with the following EraseSteps, also after a
// crash. A customer that the store does not know gets the same kind of answer.
func (s *Store) Erase(ctx context.Context, customer string, opt EraseOptions) (receipt Receipt, err error) {
	err = s.removing(func() error {
		receipt, err = s.beginErasure(ctx, customer, opt)
		return err
	})
	return receipt, err
}

func (s *Store) beginErasure(ctx context.Context, customer string, opt EraseOptions) (Receipt, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := errors.Join(ctx.Err(), s.erasable()); err != nil {
		return Receipt{}, fmt.Errorf("erase a customer: %w", err)
	}
	if customer == "" || badText("customer", customer) != "" {
		return Receipt{}, fmt.Errorf("erase a customer: the name is empty, or not valid UTF-8")
	}
	e := &edit{Epoch: s.nextEpoch()}
	if seeded.On("cache_survives_erasure") {
		e.Epoch--
	}
	key := s.state().eraseKey
	if key == nil {
		key = make([]byte, 32)
		s.opt.secret(key)
		e.EraseKey = key
	}
	id := make([]byte, 8)
	s.opt.secret(id)
	r := eraseRecord{
		Number: s.state().lastErasure() + 1, ID: fmt.Sprintf("%x", id), After: opt.After.String(), Requested: s.now(),
		Request: keyed(key, "request "+opt.After.String(), customer), Names: s.state().belonging(customer),
	}
	s.mu.Lock()
	refused := s.suppression().copy()
	s.mu.Unlock()
	for _, name := range r.Names {
		r.Identities = append(r.Identities, keyedIdentity(key, name))
		switch {
		case !refused.has(name):
		case opt.Lift:
			r.Lifts = append(r.Lifts, refused.hashesOf(name)...)
		case opt.After == Allow:
			r.After, r.Warnings = Suppress.String(), []string{staysSuppressed}
		}
	}
	slices.Sort(r.Identities) // no order that tells who was linked to whom
	slices.Sort(r.Lifts)
	e.Erase = []eraseRecord{r}
	if err := s.recordErasures(e, true); err != nil {
		return Receipt{}, fmt.Errorf("erase a customer: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	receipt := s.state().erasures[len(s.state().erasures)-1].receipt()
	if s.ledgerFailed != "" {
		receipt.Warnings = append(receipt.Warnings, s.ledgerFailed)
	}
	return receipt, nil
}

// belonging lists an identity, the customer that links lead from it to, and
// all identities linked to that one.
func (s *state) belonging(name string) []string {
	if seeded.On("linked_identity_not_erased") {
		return []string{name}
	}
	chains := chains{next: s.links.get}
	customer := chains.end(name)
	list := []string{customer}
	for from := range s.links.all() {
		if chains.end(from) == customer {
			list = append(list, from)
		}
	}
	slices.Sort(list)
	return list
}

// linksOf lists the identities whose links name one of these, in order.
func (s *state) linksOf(names map[string]bool) []string {
	var list []string
	for from, to := range s.links.all() {
		if names[from] || names[to] {
			list = append(list, from)
		}
	}
	slices.Sort(list)
	return list
}

// recordErasures publishes erasures and hides what they erase. It fills in
// what depends on the store's state. Those of now erase all that has arrived.
// The caller holds writing.
func (s *Store) recordErasures(e *edit, now bool) error {
	gone := map[string]bool{}
	for _, r := range e.Erase {
		for _, name := range r.Names {
			gone[name] = true
		}
	}
	n := &noted{names: map[string]bool{}, values: map[string]bool{}, known: map[string]bool{}}
	for _, d := range s.state().defines {
		n.written = append(n.written, d.Text)
	}
	masks, ages, err := s.maskAll(identities(slices.Sorted(maps.Keys(gone))), n)
	if err != nil {
		return err
	}
	e.Unlink = s.state().linksOf(gone)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(true); err != nil {
		return err
	}
	s.mem.note(gone, n)
	for i := range e.Erase {
		r := &e.Erase[i]
		if now {
			r.LSN = s.lsn
		}
		r.WAL = s.next // also of logs that cannot be read, which are in no list
	}
	// Whose they are does not matter: they are looked for among all that stay.
	e.Erase[0].Words, e.Erase[0].Values = slices.Sorted(maps.Keys(n.names)), slices.Sorted(maps.Keys(n.values))
	if err := s.publish(e); err != nil {
		return err
	}
	last := e.Erase[len(e.Erase)-1]
	if !seeded.On("segments_not_masked") {
		for id, f := range s.segments {
			f.mask, f.maskedTo, f.maskedBy = masks[id], last.Number, last.ID
			f.aged, f.agedBy = ages[id], f.mask
		}
	}
	s.mem.erase(s.catalog, gone)
	for _, r := range e.Erase {
		s.lsn = max(s.lsn, r.LSN)
	}
	s.cache.clear()
	s.ledgerFailed = ""
	if err := s.keepLedger(s.state()); err != nil {
		s.ledgerFailed = "the ledger beside the store could not be written, so a restored backup would not know of this erasure: " + err.Error()
		s.opt.Log.Warn("ledger of erasures", "error", err)
	}
	s.nudge()
	return nil
}

// maskAll finds the rows of some identities in every segment, by its number, and
// what retention hides beside them. n notes what was theirs.
func (s *Store) maskAll(who []linked, n *noted) (masks map[uint64]*mask, ages map[uint64]*aged, err error) {
	masks, ages = map[uint64]*mask{}, map[uint64]*aged{}
	for _, r := range s.state().segments {
		f := s.heldFile(r.ID)
		if f == nil {
			continue
		}
		if seeded.On("erased_by_time") && r.MinTime > s.now() {
			f.release()
			continue
		}
		m, err := s.cache.masked(&f.source, f.mask, who)
		if err == nil && m != f.mask {
			var fresh *mask
			if fresh, err = s.cache.masked(&f.source, nil, who); err == nil {
				err = s.cache.note(&f.source, fresh, n)
			}
		}
		if err == nil {
			ages[r.ID], err = s.cache.aged(&f.source, s.state().cutoff(), m)
		}
		f.release()
		if err != nil {
			s.mu.Lock()
			aside := s.leaveOut(err)
			s.mu.Unlock()
			if aside {
				continue // its file goes as a whole
			}
			return nil, nil, err
		}
		masks[r.ID] = m
	}
	return masks, ages, nil
}

// Receipt returns what is known of an erasure.
func (s *Store) Receipt(id string) (Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.state().erasures {
		if r := &s.state().erasures[i]; r.ID == id {
			receipt := r.receipt()
			if s.ledgerFailed != "" {
				receipt.Warnings = append(receipt.Warnings, s.ledgerFailed)
			}
			return receipt, nil
		}
	}
	return Receipt{}, fmt.Errorf("erasure %q is %w", id, ErrNotFound)
}

// LastErasure returns a number that rises with each erasure, 0 if there is none. A
// store that is open for reading looks for those of the writer first. If there
// is one that it does not know, or that was not finished when it looked last, it
// is refreshed: so it gives up the files that an erasure has replaced, too.
func (s *Store) LastErasure() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(false); err != nil {
		return 0, err
	}
	if s.opt.ReadOnly && (s.halfRead || s.manifest.erased()) {
		if err := s.readFew(); err != nil {
			return 0, fmt.Errorf("look for erasures in %s: %w", s.dir, err)
		}
	}
	return s.erased(), nil
}

// erased is LastErasure of what is known. After a reader has seen an erasure whose
// edit failed it is more than the newest number, which may be another's: it never
// is what it was before.
func (s *Store) erased() uint64 { return s.state().lastErasure() + s.withdrawn }

// Receipts lists all erasures, oldest first.
func (s *Store) Receipts() []Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Receipt{}
	for i := range s.state().erasures {
		list = append(list, s.state().erasures[i].receipt())
	}
	return list
}

// suppression is the names whose events are refused, as keyed hashes.
type suppression struct {
	keys   [][]byte
	hashes map[string]bool
	known  map[string]bool // names asked about lately
}

// suppression returns the names that are refused; nil: none. The caller holds mu.
func (s *Store) suppression() *suppression {
	if len(s.state().erasures) == 0 {
		return nil
	}
	if s.refusedOf == s.state().lastErasure() {
		return s.refused
	}
	s.refused, s.refusedOf = nil, s.state().lastErasure()
	for _, r := range s.state().erasures {
		for _, h := range r.Lifts {
			if s.refused != nil {
				delete(s.refused.hashes, h)
			}
		}
		if r.After != Suppress.String() || r.Names == nil && seeded.On("suppression_forgotten") {
			continue
		}
		if s.refused == nil {
			s.refused = &suppression{hashes: map[string]bool{}}
		}
		key := s.state().eraseKey
		if r.Key != nil {
			key = r.Key
		}
		if !slices.ContainsFunc(s.refused.keys, func(k []byte) bool { return string(k) == string(key) }) {
			s.refused.keys = append(s.refused.keys, key)
		}
		for _, h := range r.Identities {
			s.refused.hashes[h] = true
		}
	}
	return s.refused
}

// has reports whether a name is refused. It is not for use by several
// goroutines at once.
func (p *suppression) has(name string) bool {
	if p == nil {
		return false
	}
	yes, ok := p.known[name]
	if ok {
		return yes
	}
	yes = slices.ContainsFunc(p.keys, func(key []byte) bool { return p.hashes[keyedIdentity(key, name)] })
	const most = 1 << 16
	if p.known == nil || len(p.known) >= most {
		p.known = map[string]bool{}
	}
	p.known[strings.Clone(name)] = yes
	return yes
}

// hashesOf returns those by which a name is refused.
func (p *suppression) hashesOf(name string) []string {
	var list []string
	for _, key := range p.keys {
		if h := keyedIdentity(key, name); p.hashes[h] {
			list = append(list, h)
		}
	}
	return list
}

// copy returns a suppression for another goroutine.
func (p *suppression) copy() *suppression {
	if p == nil {
		return nil
	}
	return &suppression{keys: p.keys, hashes: p.hashes}
}

// without returns the rows of a batch whose customers are not refused, and how
// many are.
func (p *suppression) without(b *event.Batch, keep []int) ([]int, int64) {
	if p == nil {
		return keep, 0
	}
	var rest []int
	for _, i := range keep {
		if !p.has(b.Customer[i]) {
			rest = append(rest, i)
		}
	}
	return rest, int64(len(keep) - len(rest))
}

// erasedUpTo tells of each name that an unfinished erasure took how far:
// replaying the log must not bring the customer back with an older batch.
func (s *state) erasedUpTo() map[string]uint64 {
	upTo := map[string]uint64{}
	for _, r := range s.erasing() {
		if seeded.On("erasure_forgotten_in_replay") {
			break
		}
		for _, name := range r.Names {
			upTo[name] = max(upTo[name], r.LSN)
		}
	}
	return upTo
}
