//go:build seeded

package engine_test

import (
	"testing"

	"wend/engine"
	"wend/event"
	"wend/internal/seeded"
	"wend/internal/trust"
	"wend/storage/vfs"
)

// A kept answer that survives an erasure is what TestAnErasedCustomerIsInNoAnswer
// would notice.
func TestSeededCacheSurvivesErasure(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web"), at("bob", 2, "view", "web")}, engine.Options{})
	seeded.Switch("cache_survives_erasure")
	defer seeded.Switch("")
	ask(t, db, "measure events")
	if err := db.Erase(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if res := ask(t, db, "measure events"); first(res) == int64(1) {
		t.Fatal("the deliberate bug does nothing")
	}
	trust.Report(t, "bug", "name", "cache_survives_erasure", "caught by", "TestAnErasedCustomerIsInNoAnswer", "after", 1)
}
