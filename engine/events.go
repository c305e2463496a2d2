package engine

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"wend/event"
	"wend/tile"
)

// Events yields every event of the store as it is now, customer by customer
// under the canonical identity, each customer's in order of time and arrival.
// An error ends the sequence; one is ErrErased, when a customer is erased
// meanwhile. Damaged segments are left out whole: all files are compared with
// their checksums before the first event.
func (db *DB) Events(ctx context.Context) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		if err := db.begin(); err != nil {
			yield(event.Event{}, err)
			return
		}
		defer db.running.Done()
		era := db.eras.current() // before the snapshot, as queries do
		snap, err := db.sound(ctx)
		if err != nil {
			yield(event.Event{}, err)
			return
		}
		defer snap.Release()
		schema := snap.Schema()
		need := tile.Need{Names: true, Channel: true, IDs: true}
		order := make([]int, len(schema.Properties)) // by name, as events have them
		for i := range schema.Properties {
			need.Properties = append(need.Properties, i)
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			return strings.Compare(schema.Properties[a].Name, schema.Properties[b].Name)
		})
		for i := range snap.Tiles() {
			t, err := snap.Tile(ctx, i, need)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(event.Event{}, fmt.Errorf("read events: %w", err))
				return
			}
			for c := range t.Customers() {
				lo, hi := t.Range(c)
				for row := lo; row < hi; row++ {
					if (row == lo || row%1024 == 0) && era.ctx.Err() != nil {
						yield(event.Event{}, fmt.Errorf("read events: %w", ErrErased))
						return
					}
					if !yield(eventAt(schema, t, order, c, row), nil) {
						return
					}
				}
			}
		}
	}
}

// sound pins the newest state once nothing in it is damaged that is not left out.
func (db *DB) sound(ctx context.Context) (pinned, error) {
	for {
		snap, err := db.snapshot()
		if err != nil {
			return snap, err
		}
		if err = snap.Verify(ctx); err == nil {
			return snap, nil
		}
		snap.Release()
		if !db.store.SetAside(err) {
			return pinned{}, err
		}
	}
}

// eventAt puts a row together again.
func eventAt(schema *event.Schema, t *tile.Tile, order []int, customer, row int) event.Event {
	e := event.Event{
		Customer: strings.Clone(t.Names.At(customer)),
		Time:     t.Time.At(row),
		Name:     schema.Events[t.Event.At(row)].Text,
		Channel:  schema.Channels[t.Channel.At(row)].Text,
		ID:       t.IDs.At(row).Text(),
	}
	for _, p := range order {
		if v := t.Columns[p].At(row); !v.IsNull() {
			e.Props = append(e.Props, event.Prop{Name: schema.Properties[p].Name, Value: v})
		}
	}
	return e
}
