package storage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wend/event"
)

// edit is one change of a store's state. Absent fields change nothing.
type edit struct {
	Format     int                `json:"format,omitempty"`   // see FormatVersion; absent: 1; in the first edit of a file only
	Next       uint64             `json:"next,omitempty"`     // file numbers below are taken
	LSN        uint64             `json:"lsn,omitempty"`      // batches up to it are in segments
	Epoch      uint64             `json:"epoch,omitempty"`    // counts visible changes that are not batches
	WAL        uint64             `json:"wal,omitempty"`      // log files below are no longer needed
	Logs       []uint64           `json:"logs,omitempty"`     // log files that were begun, durably; from format 2 on
	Received   int64              `json:"received,omitempty"` // when the newest batch came
	Width      string             `json:"width,omitempty"`    // of a time partition
	Events     []string           `json:"events,omitempty"`
	Channels   []string           `json:"channels,omitempty"`
	Properties []propertyRecord   `json:"properties,omitempty"`
	Remove     []uint64           `json:"remove,omitempty"`
	Add        []segmentRecord    `json:"add,omitempty"`
	Imports    []importRecord     `json:"imports,omitempty"`
	Undo       []string           `json:"undo,omitempty"`
	Links      []Link             `json:"links,omitempty"`
	Unlink     []string           `json:"unlink,omitempty"`
	Define     []event.Definition `json:"define,omitempty"`
	Drop       []string           `json:"drop,omitempty"`
	Tokens     []tokenRecord      `json:"tokens,omitempty"`
	EraseKey   []byte             `json:"erase_key,omitempty"`  // of the keyed hashes in Erase
	Erase      []eraseRecord      `json:"erase,omitempty"`      // asked for, gone on or finished
	Quarantine []quarantineRecord `json:"quarantine,omitempty"` // files that are set aside, their segments removed
	Release    []string           `json:"release,omitempty"`    // files that are no longer set aside
	Retain     *retainRecord      `json:"retain,omitempty"`     // in the place of the one before
	Restored   []RestoreMark      `json:"restored,omitempty"`   // from format 2 on
}

type propertyRecord struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// segmentRecord is what the manifest knows about a segment without opening it.
type segmentRecord struct {
	ID        uint64     `json:"id"`
	Size      int64      `json:"size"`
	Checksum  uint32     `json:"crc"`
	FirstLSN  uint64     `json:"first"`
	LastLSN   uint64     `json:"last"`
	Partition int64      `json:"partition"`
	Rows      int64      `json:"rows"`
	Customers int64      `json:"customers"`
	MinTime   event.Time `json:"min"`
	MaxTime   event.Time `json:"max"`
	Erased    uint64     `json:"erased,omitempty"` // erasures up to this number are done in it
	Hash      uint64     `json:"hash,omitempty"`   // xxHash64 of the file; of those that stores of format 1 wrote there is none
	Salt      uint32     `json:"salt,omitempty"`   // that the file's header has
}

// is reports whether a file with this checksum and hash is the segment's.
func (r segmentRecord) is(checksum uint32, hash uint64) bool {
	return checksum == r.Checksum && (r.Hash == 0 || hash == r.Hash)
}

func (r segmentRecord) file() string { return fmt.Sprintf("%06d.seg", r.ID) }

type importRecord struct {
	ID     string     `json:"id"`
	Source string     `json:"source"`
	At     event.Time `json:"at"`
	Events int64      `json:"events"`
	Undone bool       `json:"undone,omitempty"`
}

type tokenRecord struct {
	Token string     `json:"token"`
	At    event.Time `json:"at"`
	Ack   answer     `json:"ack"`
	Keyed bool       `json:"keyed,omitempty"` // Token is a keyed hash: an erasure took the text
}

// state is what the edits of a manifest add up to. A published state does not
// change: apply makes the next one.
type state struct {
	store      [16]byte
	format     int
	next       uint64
	lsn        uint64
	epoch      uint64
	wal        uint64
	logs       []uint64 // log files from wal on that were begun: one that is not there is missing
	received   event.Time
	width      string
	events     []string
	channels   []string
	properties []event.Property
	segments   []segmentRecord    // by FirstLSN, then ID
	imports    []importRecord     // code of an import: its place here, plus one
	links      *nameMap[string]   // who belongs to whom, as it was said
	defines    []event.Definition // by name
	tokens     tokenRuns
	eraseKey   []byte
	erasures   []eraseRecord      // by number
	quarantine []quarantineRecord // in the order in which they were set aside
	retain     *retainRecord      // nil: nothing was ever too old
	restored   []RestoreMark      // every restore that led here, the oldest first
}

// apply returns the state after e. It fails on an edit that no writer makes.
func (s *state) apply(e *edit) (*state, error) {
	n := *s
	n.format = max(s.format, e.Format)
	n.next = max(s.next, e.Next)
	n.lsn = max(s.lsn, e.LSN)
	n.epoch = max(s.epoch, e.Epoch)
	n.wal = max(s.wal, e.WAL)
	n.logs = slices.DeleteFunc(append(slices.Clone(s.logs), e.Logs...), func(number uint64) bool {
		return number < n.wal || slices.Contains(e.Release, walName(number))
	})
	n.received = max(s.received, event.Time(e.Received))
	if e.Width != "" {
		n.width = e.Width
	}
	n.events = append(slices.Clip(s.events), e.Events...)
	n.channels = append(slices.Clip(s.channels), e.Channels...)
	if err := n.applyProperties(e); err != nil {
		return nil, err
	}
	if len(e.Add)+len(e.Remove) > 0 {
		n.segments = slices.DeleteFunc(slices.Clone(s.segments), func(r segmentRecord) bool { return slices.Contains(e.Remove, r.ID) })
		if len(n.segments) != len(s.segments)-len(e.Remove) {
			return nil, errors.New("a segment is removed that is not there")
		}
		n.segments = append(n.segments, e.Add...)
		slices.SortFunc(n.segments, compareSegments)
	}
	if len(e.Imports)+len(e.Undo) > 0 {
		n.imports = append(slices.Clone(s.imports), e.Imports...)
		for _, id := range e.Undo {
			i := slices.IndexFunc(n.imports, func(r importRecord) bool { return r.ID == id })
			if i < 0 {
				return nil, fmt.Errorf("import %q is undone but was never made", id)
			}
			n.imports[i].Undone = true
		}
	}
	if len(e.Links)+len(e.Unlink) > 0 {
		links := s.links.edit()
		for _, from := range e.Unlink {
			links.delete(from)
		}
		for _, l := range e.Links {
			links.set(l.From, l.To)
		}
		n.links = links.done()
	}
	if len(e.Define)+len(e.Drop) > 0 {
		n.defines = slices.DeleteFunc(slices.Clone(s.defines), func(d event.Definition) bool {
			return slices.Contains(e.Drop, d.Name) || slices.ContainsFunc(e.Define, func(f event.Definition) bool { return f.Name == d.Name })
		})
		n.defines = append(n.defines, e.Define...)
		slices.SortFunc(n.defines, func(a, b event.Definition) int { return strings.Compare(a.Name, b.Name) })
	}
	if e.Retain != nil {
		n.retain = e.Retain
	}
	n.restored = append(slices.Clip(s.restored), e.Restored...)
	if e.EraseKey != nil {
		n.eraseKey = e.EraseKey
	}
	n.applyErasures(e)
	n.tokens = s.tokens.with(e.Tokens, n.format).within(tokensMost, tokensBytes)
	return &n, n.applyQuarantine(e)
}

// The parts of apply change a copy, whose lists are still those of the state
// before: they clone what they change.

func (s *state) applyProperties(e *edit) error {
	s.properties = slices.Clone(s.properties)
	for _, p := range e.Properties {
		t, ok := event.ParseType(p.Type)
		if !ok {
			return fmt.Errorf("property %q has unknown type %q", p.Name, p.Type)
		}
		i := -1 // one without a name was erased: it only keeps its place
		if p.Name != "" {
			i = slices.IndexFunc(s.properties, func(q event.Property) bool { return q.Name == p.Name })
		}
		if i < 0 {
			s.properties = append(s.properties, event.Property{Name: p.Name, Type: t})
		} else {
			s.properties[i].Type = t
		}
	}
	return nil
}

func (s *state) applyErasures(e *edit) {
	if len(e.Erase) == 0 {
		return
	}
	s.erasures = slices.Clone(s.erasures)
	for _, r := range e.Erase {
		i := slices.IndexFunc(s.erasures, func(o eraseRecord) bool { return o.Number == r.Number })
		if i < 0 {
			s.erasures = append(s.erasures, r)
		} else {
			s.erasures[i] = r
		}
	}
	slices.SortFunc(s.erasures, func(a, b eraseRecord) int { return cmp.Compare(a.Number, b.Number) })
}

// compareSegments orders segments by arrival; those of one batch by id.
func compareSegments(a, b segmentRecord) int {
	if a.FirstLSN != b.FirstLSN {
		if a.FirstLSN < b.FirstLSN {
			return -1
		}
		return 1
	}
	if a.ID < b.ID {
		return -1
	}
	return 1
}

// whole returns the one edit that makes s from nothing.
func (s *state) whole() *edit {
	e := &edit{
		Next: s.next, LSN: s.lsn, Epoch: s.epoch, WAL: s.wal, Logs: s.logs, Received: int64(s.received), Width: s.width,
		Events: s.events, Channels: s.channels, Properties: propertyRecords(s.properties),
		Add: s.segments, Imports: s.imports, Define: s.defines, EraseKey: s.eraseKey, Erase: s.erasures, Quarantine: s.quarantine,
		Retain: s.retain, Restored: s.restored,
	}
	if s.format > 1 {
		e.Format = s.format
	}
	e.Links = linkList(s.links)
	for t := range s.tokens.all() {
		e.Tokens = append(e.Tokens, t.inFormat(s.format))
	}
	slices.SortFunc(e.Tokens, tokenRecord.compare)
	return e
}

func propertyRecords(list []event.Property) []propertyRecord {
	var records []propertyRecord
	for _, p := range list {
		records = append(records, propertyRecord{p.Name, p.Type.String()})
	}
	return records
}
