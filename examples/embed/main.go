// Command embed keeps events in a store of its own and asks it questions: wend
// as a library, with no server and no other process.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"wend/engine"
	"wend/event"
	"wend/query"
	"wend/render"
	"wend/storage"
)

func main() {
	dir := "embed.wend"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := run(context.Background(), dir); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dir string) error {
	db, err := engine.Open(dir, engine.Options{}) // zero options are good options
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("another program has %s open: %w", dir, err)
	}
	if err != nil {
		return err
	}
	defer db.Close()

	// Append returns when the events are durable. The ids make it safe to run
	// this program again: events that are there already are counted as duplicates.
	ack, err := db.Append(ctx, visits())
	if err != nil {
		return err
	}
	fmt.Printf("%d new events, %d known\n", ack.Accepted, ack.Duplicates)

	// The visitor of the advertisement turned out to be Ann.
	if err := db.Link(ctx, "cookie-1", "ann"); err != nil {
		return err
	}

	answer, err := db.Query(ctx, `funnel ad_click -> view -> purchase within 7d`)
	if err != nil {
		return err
	}
	if err := render.Write(os.Stdout, answer, "table", render.Options{Unicode: true}); err != nil {
		return err
	}

	// The cells have Go types; columns say what they mean.
	for _, row := range answer.Rows {
		fmt.Printf("%s: %d\n", row[1].(string), row[2].(int64))
	}

	// Values from outside are parameters and not pieces of text.
	answer, err = db.Query(ctx, `measure sum(value) as revenue, customers where channel = $channel`,
		engine.WithParams(map[string]event.Value{"channel": event.String("store")}))
	if err != nil {
		return err
	}
	fmt.Printf("in the store: %.2f by %d customers\n", answer.Rows[0][0], answer.Rows[0][1])

	// A mistake knows its place.
	_, err = db.Query(ctx, `funnel ad_click -> puchase`)
	var mistake *query.Error
	if errors.As(err, &mistake) {
		fmt.Println(mistake.Pretty())
	}
	return db.Close()
}

// visits are what two people did.
func visits() []event.Event {
	at := func(clock string) event.Time {
		t, err := time.Parse(time.DateTime, "2025-03-01 "+clock)
		if err != nil {
			panic(err) // they stand below
		}
		return event.At(t)
	}
	value := func(v float64) []event.Prop { return []event.Prop{{Name: "value", Value: event.Float(v)}} }
	return []event.Event{
		{ID: "1", Customer: "cookie-1", Time: at("09:00:00"), Name: "ad_click", Channel: "ads"},
		{ID: "2", Customer: "ann", Time: at("09:20:00"), Name: "view", Channel: "web"},
		{ID: "3", Customer: "ann", Time: at("17:40:00"), Name: "purchase", Channel: "store", Props: value(49.90)},
		{ID: "4", Customer: "bob", Time: at("10:00:00"), Name: "ad_click", Channel: "ads"},
		{ID: "5", Customer: "bob", Time: at("10:05:00"), Name: "view", Channel: "app"},
		{ID: "6", Customer: "cid", Time: at("11:00:00"), Name: "purchase", Channel: "store", Props: value(5.10)},
	}
}
