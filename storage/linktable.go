package storage

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"wend/internal/seeded"
)

// linkTable is the links of a snapshot, resolved. A nil table has none.
type linkTable struct {
	links     *nameMap[string]   // as they were made
	canonical *nameMap[string]   // of every linked identity
	aliases   *nameMap[[]string] // of every canonical customer, sorted
	involved  []linked           // all of both, by hash and name

	mu      sync.Mutex
	located map[uint64][]aliasPlace // by source handle, for sources asked about lately
	earlier map[uint64]earlier      // by source handle, what tables before this one knew
	prints  map[[2]int][sha256.Size]byte
}

// earlier is the places of a source before some identities were moved.
type earlier struct {
	places []aliasPlace
	moved  []string
}

// aliasPlace is where a source has the rows of a linked identity.
type aliasPlace struct {
	hash     uint64 // of the canonical customer
	to       string
	block    int
	customer int // in the block
}

func (p aliasPlace) compare(o aliasPlace) int {
	return cmp.Or(cmp.Compare(p.hash, o.hash), cmp.Compare(p.to, o.to), cmp.Compare(p.block, o.block), cmp.Compare(p.customer, o.customer))
}

// linked is an identity that a link touches.
type linked struct {
	hash uint64
	name string
}

func (l linked) compare(o linked) int {
	return cmp.Or(cmp.Compare(l.hash, o.hash), cmp.Compare(l.name, o.name))
}

func newLinkTable(links *nameMap[string]) *linkTable {
	if links.len() == 0 {
		return nil
	}
	t := &linkTable{links: links}
	aliases, canonical := t.aliases.edit(), t.canonical.edit()
	chains := chains{next: links.get}
	for from := range links.all() {
		to := chains.end(from)
		canonical.set(from, to)
		list, _ := aliases.get(to)
		aliases.set(to, append(list, from))
		t.involved = append(t.involved, linked{customerHash(from), from})
	}
	t.canonical, t.aliases = canonical.done(), aliases.done()
	for to, list := range t.aliases.all() {
		slices.Sort(list)
		t.involved = append(t.involved, linked{customerHash(to), to})
	}
	slices.SortFunc(t.involved, linked.compare)
	return t
}

// chains finds the ends of chains of links, and walks no chain twice. While it
// is in use there may be links more, and none fewer.
type chains struct {
	next   func(name string) (to string, linked bool)
	known  map[string]string // of those in the middle of a chain, one who stands further on
	passed []string
}

// end is the customer at whom the chain of links from an identity ends: the
// identity itself, if it is not linked.
func (c *chains) end(name string) string {
	c.passed = c.passed[:0]
	for {
		to, ok := c.known[name]
		if !ok {
			to, ok = c.next(name)
		}
		if !ok {
			break
		}
		c.passed = append(c.passed, name)
		name = to
		if seeded.On("link_to_wrong_customer") {
			break
		}
	}
	for i := 0; i+1 < len(c.passed); i++ { // the last is one step from the end
		if c.known == nil {
			c.known = map[string]string{}
		}
		c.known[c.passed[i]] = name
	}
	return name
}

// movedMost is how many identities may be moved before a table is made from
// nothing, and places are looked for in all of a source.
const movedMost = 1 << 10

// next returns the table of links. Where they are t's and some more, as they are
// when visitors become known one after the other, what t found out is taken over.
func (t *linkTable) next(links *nameMap[string]) *linkTable {
	if t == nil || links.len() < t.links.len() || links.len() > t.links.len()+movedMost {
		return newLinkTable(links)
	}
	var fresh []string
	for from, to := range links.since(t.links) {
		old, ok := t.links.get(from)
		if ok && old != to {
			return newLinkTable(links)
		}
		if !ok {
			fresh = append(fresh, from)
		}
	}
	switch {
	case t.links.len()+len(fresh) != links.len(): // some are gone
		return newLinkTable(links)
	case len(fresh) == 0:
		return t
	}
	chains := chains{next: func(name string) (string, bool) {
		if to, ok := t.canonical.get(name); ok {
			return to, true
		}
		return links.get(name)
	}}
	aliases, canonical := t.aliases.edit(), t.canonical.edit()
	joined := map[string][]string{} // by the customer to whom they belong now
	for _, from := range fresh {
		to := chains.end(from)
		before, _ := aliases.get(from)
		aliases.delete(from)
		joined[to] = append(append(joined[to], from), before...)
	}
	var moved, touched []string
	var involved []linked
	for to, belong := range joined {
		others, _ := aliases.get(to)
		list := slices.Concat(others, belong)
		slices.Sort(list)
		aliases.set(to, list)
		for _, name := range belong {
			canonical.set(name, to)
		}
		involved = append(involved, linked{customerHash(to), to})
		moved = append(moved, belong...)
		touched = append(append(touched, belong...), to)
	}
	for _, from := range fresh {
		involved = append(involved, linked{customerHash(from), from})
	}
	n := &linkTable{links: links, canonical: canonical.done(), aliases: aliases.done(), involved: withLinked(t.involved, involved)}
	t.handOver(n, moved, touched)
	return n
}

// withLinked returns the identities of a sorted list and some more, each once.
func withLinked(list, more []linked) []linked {
	slices.SortFunc(more, linked.compare)
	all := make([]linked, 0, len(list)+len(more))
	for _, l := range slices.Compact(more) {
		i, there := slices.BinarySearchFunc(list, l, linked.compare)
		all = append(all, list[:i]...)
		if list = list[i:]; !there {
			all = append(all, l)
		}
	}
	return append(all, list...)
}

// handOver leaves to the next table what still holds in it, or did before some
// identities were moved.
func (t *linkTable) handOver(n *linkTable, moved, touched []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.earlier = make(map[uint64]earlier, len(t.located))
	for source, e := range t.earlier {
		if len(e.moved)+len(moved) <= movedMost {
			n.earlier[source] = earlier{e.places, slices.Concat(e.moved, moved)}
		}
	}
	if len(moved) <= movedMost {
		for source, places := range t.located {
			n.earlier[source] = earlier{places, moved}
		}
	}
	bits := map[int]bool{}
	for key := range t.prints {
		bits[key[1]] = true
	}
	n.prints = maps.Clone(t.prints)
	for _, name := range touched {
		hash := customerHash(name)
		for bits := range bits {
			delete(n.prints, [2]int{blockOf(hash, bits), bits})
		}
	}
}

// resolve returns the customer that an identity belongs to.
func (t *linkTable) resolve(name string) string {
	if t != nil {
		if to, ok := t.canonical.get(name); ok {
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
		aliases, _ := t.aliases.get(l.name)
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
	before, some := t.earlier[src.handle]
	t.mu.Unlock()
	if ok {
		return list, nil
	}
	var err error
	if some {
		list, err = t.relocate(s, src, before)
	} else {
		list, err = t.locate(s, src)
	}
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.located == nil || len(t.located) >= locatedMost {
		t.located = map[uint64][]aliasPlace{}
	}
	t.located[src.handle] = list
	delete(t.earlier, src.handle)
	return list, nil
}

// locate looks for all linked identities in a source.
func (t *linkTable) locate(s *Snapshot, src *source) (list []aliasPlace, err error) {
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
		found := func(name string, customer int) {
			if to, alias := t.canonical.get(name); alias {
				list = append(list, aliasPlace{customerHash(to), to, b, customer})
			}
		}
		if names.Len() < len(aliases) { // as it is in what came since the last flush
			for customer := range names.Len() {
				found(names.At(customer), customer)
			}
			continue
		}
		for _, l := range aliases {
			if customer, here := findHashed(names, l.hash, l.name); here {
				found(l.name, customer)
			}
		}
	}
	slices.SortFunc(list, aliasPlace.compare)
	return list, nil
}

// relocate looks for those only who were moved since others were located.
func (t *linkTable) relocate(s *Snapshot, src *source, before earlier) ([]aliasPlace, error) {
	moved := map[string]bool{}
	for _, name := range before.moved {
		moved[name] = true
	}
	// Who belonged to somebody who was moved was moved as well.
	list := slices.DeleteFunc(slices.Clone(before.places), func(p aliasPlace) bool { return moved[p.to] })
	for name := range moved {
		hash := customerHash(name)
		b := blockOf(hash, src.seg.PrefixBits)
		block := src.block(b)
		if block == nil {
			continue
		}
		names, err := s.cache.names(block, true)
		if err != nil {
			return nil, err
		}
		if customer, here := findHashed(names, hash, name); here {
			to := t.resolve(name)
			place := aliasPlace{customerHash(to), to, b, customer}
			i, _ := slices.BinarySearchFunc(list, place, aliasPlace.compare)
			list = slices.Insert(list, i, place)
		}
	}
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
