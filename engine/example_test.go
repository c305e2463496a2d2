package engine_test

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
)

// touch is an event so many minutes into a day.
func touch(customer string, minute int, name, channel string) event.Event {
	day := time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)
	return event.Event{Customer: customer, Time: event.At(day.Add(time.Duration(minute) * time.Minute)), Name: name, Channel: channel}
}

// A program opens a store, appends events and asks questions.
func Example() {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := engine.Open(dir, engine.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := context.Background()
	if _, err := db.Append(ctx, []event.Event{
		touch("ann", 0, "view", "web"), touch("ann", 5, "cart", "web"), touch("ann", 65, "purchase", "store"),
		touch("visitor-7", 10, "view", "app"), touch("bob", 20, "cart", "app"),
	}); err != nil {
		log.Fatal(err)
	}
	// The visitor logged in: the events before belong to bob.
	if err := db.Link(ctx, "visitor-7", "bob"); err != nil {
		log.Fatal(err)
	}

	res, err := db.Query(ctx, "funnel view -> cart -> purchase within 7d")
	if err != nil {
		log.Fatal(err)
	}
	for _, row := range res.Rows {
		fmt.Println(row[0], row[1], row[2])
	}
	// Output:
	// 1 view 2
	// 2 cart 2
	// 3 purchase 1
}

// openShop opens a store of these events; done closes and removes it.
func openShop(events ...event.Event) (db *engine.DB, done func()) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		log.Fatal(err)
	}
	if db, err = engine.Open(dir, engine.Options{}); err != nil {
		log.Fatal(err)
	}
	if _, err := db.Append(context.Background(), events); err != nil {
		log.Fatal(err)
	}
	return db, func() {
		db.Close()
		os.RemoveAll(dir)
	}
}

// Values come as parameters, never pasted into the text.
func ExampleWithParams() {
	db, done := openShop(touch("ann", 0, "view", "web"), touch("bob", 1, "view", "app"))
	defer done()

	ctx := context.Background()
	res, err := db.Query(ctx, "paths where channel = $channel", engine.WithParams(map[string]event.Value{"channel": event.String("app")}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Rows)
	// Output: [[[view] 1 1 0]]
}

// Errors are typed: a mistake points at itself, a limit has a name.
func ExampleDB_Query_errors() {
	db, done := openShop(touch("ann", 0, "purchase", "web"), touch("bob", 1, "view", "app"))
	defer done()

	ctx := context.Background()
	_, err := db.Query(ctx, "paths to puchase")
	var mistake *query.Error
	if errors.As(err, &mistake) {
		fmt.Println(mistake.Code, mistake.Line, mistake.Column)
		fmt.Println(mistake.Pretty())
	}
	_, err = db.Query(ctx, "paths", engine.WithLimits(engine.RunOptions{Rows: 1}))
	fmt.Println(errors.Is(err, engine.ErrLimit))
	// Output:
	// unknown_event 1 10
	// paths to puchase
	//          ~~~~~~~
	// unknown event "puchase"; did you mean "purchase"?
	// true
}
