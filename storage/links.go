package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"wend/event"
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
	all := s.state().links.edit()
	chains := chains{next: all.get}
	var fresh []Link
	for i, l := range links {
		if i%(1<<10) == 0 && ctx.Err() != nil {
			return fmt.Errorf("link identities: %w", ctx.Err())
		}
		if have, linked := all.get(l.From); linked && have == l.To {
			continue // said before
		}
		if refused := s.suppression(); refused.has(l.From) || refused.has(l.To) {
			return fmt.Errorf("link identities: %w: one of them was erased, and is not to come back", ErrBadLink)
		}
		if reason := badLink(&all.nameMap, &chains, l); reason != "" {
			return fmt.Errorf("link %q to %q: %w: %s", l.From, l.To, ErrBadLink, reason)
		}
		all.set(l.From, l.To)
		fresh = append(fresh, l)
	}
	if len(fresh) == 0 {
		if err := s.settle(); err != nil {
			return fmt.Errorf("link identities: %w", err)
		}
		return nil
	}
	if err := s.publish(&edit{Epoch: s.nextEpoch(), Links: fresh}); err != nil {
		return fmt.Errorf("link identities: %w", err)
	}
	return nil
}

// badLink says why a link cannot join those that there are, "" if it can.
func badLink(links *nameMap[string], chains *chains, l Link) string {
	have, linked := links.get(l.From)
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
	if chains.end(l.To) != l.From {
		return ""
	}
	at := l.To
	for next, _ := links.get(at); next != l.From; next, _ = links.get(at) {
		at = next
	}
	return fmt.Sprintf("%q is linked to %q, so the links would go round in a circle", at, l.From)
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
	if _, ok := s.state().links.get(from); !ok {
		return fmt.Errorf("unlink %q: the link is %w", from, ErrNotFound)
	}
	if err := s.publish(&edit{Epoch: s.nextEpoch(), Unlink: []string{from}}); err != nil {
		return fmt.Errorf("unlink %q: %w", from, err)
	}
	return nil
}

// Links lists the links by their From.
func (s *Store) Links() []Link { return linkList(s.state().links) }

func linkList(links *nameMap[string]) (list []Link) {
	for from, to := range links.all() {
		list = append(list, Link{from, to})
	}
	slices.SortFunc(list, func(a, b Link) int { return cmp.Compare(a.From, b.From) })
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
	if err := s.publish(&edit{Epoch: s.nextEpoch(), Define: []event.Definition{d}}); err != nil {
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
	if err := s.publish(&edit{Epoch: s.nextEpoch(), Drop: []string{name}}); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	return nil
}
