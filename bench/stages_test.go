package bench

import (
	"testing"

	"wend/engine"
	"wend/event"
	"wend/query"
	"wend/storage"
)

// withStages is a store's snapshot with stages that nobody has defined in the
// store, which is only read here.
type withStages struct{ *storage.Snapshot }

func (withStages) Definitions() []event.Definition {
	return []event.Definition{
		{Kind: "stage", Name: "consideration", Text: "define stage consideration as view_product | review_read | price_compare"},
		{Kind: "stage", Name: "basket", Text: "define stage basket as add_to_cart | remove_from_cart | begin_checkout"},
		{Kind: "stage", Name: "buying", Text: "define stage buying as purchase | store_purchase"},
	}
}

func (s withStages) Missing() []engine.Missing {
	var missing []engine.Missing
	for _, m := range s.Snapshot.Missing() {
		missing = append(missing, engine.Missing(m))
	}
	return missing
}

// staged returns what asks a statement of such a snapshot.
func staged(b *testing.B, text string) func() *engine.Result {
	b.Helper()
	s, err := storage.Open(store(b), storage.Options{ReadOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	pinned, err := s.Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pinned.Release)
	snap := withStages{pinned}
	parsed, err := query.Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	end, _ := snap.EndOfData()
	plan, err := query.Bind(parsed[0], &query.Catalog{Schema: snap.Schema(), Definitions: snap.Definitions(), EndOfData: end})
	if err != nil {
		b.Fatal(err)
	}
	return func() *engine.Result {
		res, err := engine.Run(b.Context(), plan, snap, engine.RunOptions{})
		if err != nil {
			b.Fatal(err)
		}
		return res
	}
}
