package storage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"wend/event"
	"wend/internal/seeded"
)

// Link says that one identity is another's: events stored under From belong
// to the customer To, those that came before the link and those that come after.
type Link struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// ErrBadLink says that a link cannot be, whatever the store's state on disk:
// to itself, in a circle, or to a second customer.
var ErrBadLink = errors.New("this link cannot be made")

// Link makes an identity another customer's. Links chain: the customer is
// whoever stands at the end.
func (s *Store) Link(ctx context.Context, from, to string) error {
	return s.LinkAll(ctx, []Link{{from, to}})
}

// LinkAll makes several links, all of them or none.
func (s *Store) LinkAll(ctx context.Context, links []Link) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return fmt.Errorf("link identities: %w", err)
	}
	all := maps.Clone(s.state().links)
	if all == nil {
		all = map[string]string{}
	}
	var fresh []Link
	for _, l := range links {
		if have, linked := all[l.From]; linked && have == l.To {
			continue // said before
		}
		if refused := s.suppression(); refused.has(l.From) || refused.has(l.To) {
			return fmt.Errorf("link identities: %w: one of them was erased, and is not to come back", ErrBadLink)
		}
		if reason := badLink(all, l); reason != "" {
			return fmt.Errorf("link %q to %q: %w: %s", l.From, l.To, ErrBadLink, reason)
		}
		all[l.From] = l.To
		fresh = append(fresh, l)
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := s.publish(&edit{Epoch: s.state().epoch + 1, Links: fresh}); err != nil {
		return fmt.Errorf("link identities: %w", err)
	}
	return nil
}

// badLink says why a link cannot join those that there are, "" if it can.
func badLink(links map[string]string, l Link) string {
	have, linked := links[l.From]
	switch {
	case l.From == "" || l.To == "":
		return "an identity cannot be empty"
	case l.From == l.To:
		return "an identity cannot be linked to itself"
	case badText("identity", l.From)+badText("identity", l.To) != "":
		return "an identity is not valid UTF-8"
	case linked:
		return fmt.Sprintf("it is linked to %q already; unlink it first", have)
	}
	for at := l.To; ; {
		next, ok := links[at]
		if !ok {
			return ""
		}
		if next == l.From {
			return fmt.Sprintf("%q is linked to %q, so the links would go round in a circle", at, l.From)
		}
		at = next
	}
}

// Unlink takes a link back: the identity is a customer of its own again.
func (s *Store) Unlink(ctx context.Context, from string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return fmt.Errorf("unlink %q: %w", from, err)
	}
	if _, ok := s.state().links[from]; !ok {
		return fmt.Errorf("unlink %q: the link is %w", from, ErrNotFound)
	}
	if err := s.publish(&edit{Epoch: s.state().epoch + 1, Unlink: []string{from}}); err != nil {
		return fmt.Errorf("unlink %q: %w", from, err)
	}
	return nil
}

// Links lists the links by their From.
func (s *Store) Links() []Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Link
	for _, from := range slices.Sorted(maps.Keys(s.state().links)) {
		list = append(list, Link{from, s.state().links[from]})
	}
	return list
}

// Define keeps a named piece of the language, in place of one of that name.
func (s *Store) Define(ctx context.Context, d event.Definition) (replaced bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return false, fmt.Errorf("define %s: %w", d.Name, err)
	}
	replaced = slices.ContainsFunc(s.state().defines, func(o event.Definition) bool { return o.Name == d.Name })
	if err := s.publish(&edit{Epoch: s.state().epoch + 1, Define: []event.Definition{d}}); err != nil {
		return false, fmt.Errorf("define %s: %w", d.Name, err)
	}
	return replaced, nil
}

// Drop forgets a definition.
func (s *Store) Drop(ctx context.Context, name string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	if !slices.ContainsFunc(s.state().defines, func(o event.Definition) bool { return o.Name == name }) {
		return fmt.Errorf("drop %s: the definition is %w", name, ErrNotFound)
	}
	if err := s.publish(&edit{Epoch: s.state().epoch + 1, Drop: []string{name}}); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	return nil
}

// linkTable is the links of a snapshot, resolved. A nil table has none.
type linkTable struct {
	canonical map[string]string   // of every linked identity
	aliases   map[string][]string // of every canonical customer, sorted
	involved  []linked            // all of both, by hash and name

	mu      sync.Mutex
	located map[uint64][]aliasPlace // by source handle, for sources asked about lately
	prints  map[[2]int][sha256.Size]byte
}

// aliasPlace is where a source has the rows of a linked identity.
type aliasPlace struct {
	hash     uint64 // of the canonical customer
	to       string
	block    int
	customer int // in the block
}

// linked is an identity that a link touches.
type linked struct {
	hash uint64
	name string
}

func newLinkTable(links map[string]string) *linkTable {
	if len(links) == 0 {
		return nil
	}
	t := &linkTable{canonical: make(map[string]string, len(links)), aliases: map[string][]string{}}
	for from, to := range links {
		for next, ok := links[to]; ok && !seeded.On("link_to_wrong_customer"); next, ok = links[to] {
			to = next
		}
		t.canonical[from] = to
		t.aliases[to] = append(t.aliases[to], from)
	}
	for to, list := range t.aliases {
		slices.Sort(list)
		t.involved = append(t.involved, linked{customerHash(to), to})
	}
	for from := range t.canonical {
		t.involved = append(t.involved, linked{customerHash(from), from})
	}
	slices.SortFunc(t.involved, func(a, b linked) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.name, b.name))
	})
	return t
}

// resolve returns the customer that an identity belongs to.
func (t *linkTable) resolve(name string) string {
	if t != nil {
		if to, ok := t.canonical[name]; ok {
			return to
		}
	}
	return name
}

// within returns the identities whose hash begins with prefix p.
func (t *linkTable) within(p, prefixBits int) []linked {
	if t == nil {
		return nil
	}
	if prefixBits == 0 {
		return t.involved
	}
	at := func(p int) int {
		if p>>prefixBits != 0 {
			return len(t.involved)
		}
		i, _ := slices.BinarySearchFunc(t.involved, uint64(p)<<(64-prefixBits), func(l linked, h uint64) int { return cmp.Compare(l.hash, h) })
		return i
	}
	return t.involved[at(p):at(p+1)]
}

// print is a fingerprint of the links that touch identities whose hash begins
// with prefix p: which customer they belong to, and who belongs to them. Tables
// that differ in other links only have the same.
func (t *linkTable) print(p, prefixBits int) [sha256.Size]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := [2]int{p, prefixBits}
	if sum, ok := t.prints[key]; ok {
		return sum
	}
	var text []byte
	add := func(name string) {
		text = append(binary.AppendUvarint(text, uint64(len(name))), name...)
	}
	for _, l := range t.within(p, prefixBits) {
		add(l.name)
		add(t.resolve(l.name))
		aliases := t.aliases[l.name]
		text = binary.AppendUvarint(text, uint64(len(aliases)))
		for _, alias := range aliases {
			add(alias)
		}
	}
	if t.prints == nil {
		t.prints = map[[2]int][sha256.Size]byte{}
	}
	sum := sha256.Sum256(text)
	t.prints[key] = sum
	return sum
}

// locatedMost bounds the sources whose places are remembered: more than any
// store has that is compacted now and then.
const locatedMost = 256

// places finds the linked identities of a source, ordered by the hash of
// the customer that they belong to.
func (t *linkTable) places(s *Snapshot, src *source) ([]aliasPlace, error) {
	t.mu.Lock()
	list, ok := t.located[src.handle]
	t.mu.Unlock()
	if ok {
		return list, nil
	}
	for b := range 1 << src.seg.PrefixBits {
		block := src.block(b)
		aliases := t.within(b, src.seg.PrefixBits)
		if block == nil || len(aliases) == 0 {
			continue
		}
		names, err := s.cache.names(block, true)
		if err != nil {
			return nil, err
		}
		for _, l := range aliases {
			to, alias := t.canonical[l.name]
			if customer, here := findHashed(names, l.hash, l.name); alias && here {
				list = append(list, aliasPlace{customerHash(to), to, b, customer})
			}
		}
	}
	slices.SortFunc(list, func(a, b aliasPlace) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.to, b.to), cmp.Compare(a.block, b.block), cmp.Compare(a.customer, b.customer))
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.located == nil || len(t.located) >= locatedMost {
		t.located = map[uint64][]aliasPlace{}
	}
	t.located[src.handle] = list
	return list, nil
}

// within returns the places whose customer's hash begins with prefix p.
func within(places []aliasPlace, p, prefixBits int) []aliasPlace {
	if prefixBits == 0 {
		return places
	}
	at := func(p int) int {
		if p>>prefixBits != 0 {
			return len(places)
		}
		i, _ := slices.BinarySearchFunc(places, uint64(p)<<(64-prefixBits), func(a aliasPlace, h uint64) int { return cmp.Compare(a.hash, h) })
		return i
	}
	return places[at(p):at(p+1)]
}

func findHashed(names *blockNames, hash uint64, name string) (int, bool) {
	i, _ := slices.BinarySearch(names.hashes, hash)
	for ; i < len(names.hashes) && names.hashes[i] == hash; i++ {
		if names.At(i) == name {
			return i, true
		}
	}
	return 0, false
}
