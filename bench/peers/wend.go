package main

import (
	"context"

	"wend/engine"
	"wend/event"
)

// openWend opens a store and returns what runs one statement on it, the cache
// of finished answers left alone.
func openWend(args []string) (func(string) ([][]any, error), error) {
	db, err := engine.Open(args[0], engine.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	return func(text string) ([][]any, error) {
		res, err := db.Query(context.Background(), text, engine.NoCache())
		if err != nil {
			return nil, err
		}
		rows := make([][]any, len(res.Rows))
		for i, row := range res.Rows {
			rows[i] = make([]any, len(row))
			for k, cell := range row {
				if t, ok := cell.(event.Time); ok {
					cell = t.String()
				}
				rows[i][k] = cell
			}
		}
		return rows, nil
	}, nil
}
