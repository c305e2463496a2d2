// Package enginetest makes snapshots in memory for tests of the engine: events
// in, an engine.Snapshot out, with no files between.
//
// It is not for products: every tile is built once and kept, and nothing is
// checked that storage would have checked on the way in.
package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"wend/engine"
	"wend/event"
	"wend/tile"
)

// Options say what a snapshot is like beyond its events. Zero options give one
// tile, no links, no definitions, and the newest event's time as end of data.
type Options struct {
	Links       map[string]string // identity -> identity: the first belongs to the second
	Definitions []event.Definition
	Tiles       int        // customers are dealt out to so many tiles, 0: 1
	EndOfData   event.Time // if HasEnd
	HasEnd      bool
	Schema      *event.Schema // names in this order, further ones after; nil: in order of appearance
	Missing     []engine.Missing
	OnTile      func(i int) error // called when a tile is asked for, for faults and cancellation
}

// Snapshot is events in memory. It implements engine.Snapshot.
type Snapshot struct {
	opt      Options
	schema   *event.Schema
	journeys [][]tile.Journey // by tile
	tiles    []*tile.Tile
	found    map[string]place
	events   int64
	end      event.Time
}

type place struct {
	tile, index int
	canonical   string
}

// New makes a snapshot of events, which stand in order of arrival.
func New(events []event.Event, opt Options) (*Snapshot, error) {
	s := &Snapshot{opt: opt, schema: schemaOf(events, opt.Schema), found: map[string]place{}, events: int64(len(events))}
	byCustomer := map[string][]event.Event{}
	identities := map[string]string{}
	var names []string
	for _, e := range events {
		canonical := e.Customer
		for range opt.Links {
			to, ok := opt.Links[canonical]
			if !ok {
				break
			}
			canonical = to
		}
		identities[e.Customer] = canonical
		if byCustomer[canonical] == nil {
			names = append(names, canonical)
		}
		byCustomer[canonical] = append(byCustomer[canonical], e)
	}
	if len(events) > 0 {
		s.end = slices.MaxFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) }).Time
	}
	for from := range opt.Links {
		to := from
		for range opt.Links {
			if next, ok := opt.Links[to]; ok {
				to = next
			}
		}
		identities[from] = to
		identities[to] = to
	}
	identitiesOf := map[string][]string{}
	for identity, canonical := range identities {
		identitiesOf[canonical] = append(identitiesOf[canonical], identity)
	}
	slices.Sort(names)
	s.journeys = make([][]tile.Journey, max(1, opt.Tiles))
	for i, name := range names {
		t := i % len(s.journeys)
		journey := byCustomer[name]
		slices.SortStableFunc(journey, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
		for _, identity := range identitiesOf[name] {
			s.found[identity] = place{t, len(s.journeys[t]), name}
		}
		s.journeys[t] = append(s.journeys[t], tile.Journey{Customer: name, Events: journey})
	}
	for _, js := range s.journeys {
		t, err := tile.Build(s.schema, js)
		if err != nil {
			return nil, err
		}
		s.tiles = append(s.tiles, t)
	}
	return s, nil
}

// Must is New for tests that have nothing to say about its error.
func Must(events []event.Event, opt Options) *Snapshot {
	s, err := New(events, opt)
	if err != nil {
		panic(fmt.Sprintf("enginetest: %v", err))
	}
	return s
}

func schemaOf(events []event.Event, given *event.Schema) *event.Schema {
	s := &event.Schema{Channels: []event.Name{{}}}
	if given != nil {
		s.Events = slices.Clone(given.Events)
		s.Channels = slices.Clone(given.Channels)
		s.Properties = slices.Clone(given.Properties)
	}
	for _, e := range events {
		code, ok := s.Event(e.Name)
		if !ok {
			code = len(s.Events)
			s.Events = append(s.Events, event.Name{Text: e.Name})
		}
		s.Events[code].Count++
		if code, ok = s.Channel(e.Channel); !ok {
			code = len(s.Channels)
			s.Channels = append(s.Channels, event.Name{Text: e.Channel})
		}
		s.Channels[code].Count++
		for _, p := range e.Props {
			i, ok := s.Property(p.Name)
			if !ok {
				i = len(s.Properties)
				s.Properties = append(s.Properties, event.Property{Name: p.Name, Type: p.Value.Type()})
			}
			if s.Properties[i].Type == event.IntegerType && p.Value.Type() == event.FloatType {
				s.Properties[i].Type = event.FloatType
			}
		}
	}
	return s
}

// Schema holds the names and types that the events of New have.
func (s *Snapshot) Schema() *event.Schema { return s.schema }

// Definitions are those of the options.
func (s *Snapshot) Definitions() []event.Definition { return s.opt.Definitions }

// Version is the same for all of them: engine.Run, unlike a DB, keeps no answers by it.
func (s *Snapshot) Version() string { return "memory" }

// Events counts rows, profiles included.
func (s *Snapshot) Events() int64 { return s.events }

// Tiles is as many as the options ask for.
func (s *Snapshot) Tiles() int { return len(s.tiles) }

// TileRows is exact here, before any pruning by time.
func (s *Snapshot) TileRows(i int) int64 { return int64(s.tiles[i].Rows) }

// Missing is what the options pretend.
func (s *Snapshot) Missing() []engine.Missing { return s.opt.Missing }

// EndOfData is that of the options, or the newest event's time.
func (s *Snapshot) EndOfData() (event.Time, bool) {
	if s.opt.HasEnd {
		return s.opt.EndOfData, true
	}
	return s.end, s.events > 0
}

// Customers counts journeys: identities that links join are one.
func (s *Snapshot) Customers() (int64, error) {
	var n int64
	for _, js := range s.journeys {
		n += int64(len(js))
	}
	return n, nil
}

// Locate finds a customer by any identity that its events or links name.
func (s *Snapshot) Locate(_ context.Context, customer string) (int, int, string, bool, error) {
	p, ok := s.found[customer]
	return p.tile, p.index, p.canonical, ok, nil
}

// Tile gives no more than was asked for, so that a test notices a column that
// an operator reads without asking. Nor does it fail where the context has
// ended, so that a test notices an engine that does not look itself.
func (s *Snapshot) Tile(_ context.Context, i int, need tile.Need) (*tile.Tile, error) {
	if s.opt.OnTile != nil {
		if err := s.opt.OnTile(i); err != nil {
			return nil, err
		}
	}
	t := *s.tiles[i]
	if need.From != 0 || need.To != 0 {
		cut, err := s.between(i, need.From, need.To)
		if err != nil {
			return nil, err
		}
		t = *cut
	}
	if !need.Names {
		t.Names = nil
	}
	if !need.Channel {
		t.Channel = nil
	}
	if !need.IDs {
		t.IDs = nil
	}
	columns := make([]*tile.Column, len(s.schema.Properties))
	for _, p := range need.Properties {
		if p < len(t.Columns) {
			columns[p] = t.Columns[p]
		}
	}
	t.Columns = columns
	return &t, nil
}

// between leaves out every row that the caller said does not matter.
func (s *Snapshot) between(i int, from, to event.Time) (*tile.Tile, error) {
	var journeys []tile.Journey
	for _, j := range s.journeys[i] {
		cut := tile.Journey{Customer: j.Customer}
		for _, e := range j.Events {
			if e.Time >= from && e.Time < to {
				cut.Events = append(cut.Events, e)
			}
		}
		if len(cut.Events) > 0 {
			journeys = append(journeys, cut)
		}
	}
	return tile.Build(s.schema, journeys)
}
