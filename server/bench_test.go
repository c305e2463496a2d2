package server

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

// BenchmarkCachedQuery asks the same query again, over a real connection a core.
func BenchmarkCachedQuery(b *testing.B) {
	db, err := engine.Open("shop", engine.Options{Storage: storage.Options{FS: vfs.NewMem()}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	events := []event.Event{{Customer: "a", Time: 1, Name: "view"}, {Customer: "a", Time: 2, Name: "purchase"}}
	if _, err := db.Append(b.Context(), events); err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(New(db, Options{Log: slog.New(slog.DiscardHandler)}).Handler())
	defer srv.Close()
	ask := func(client *http.Client) {
		res, err := client.Post(srv.URL+"/v1/query", "text/plain", strings.NewReader(funnel))
		if err != nil {
			b.Error(err)
			return
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	for range 3 {
		ask(srv.Client())
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for pb.Next() {
			ask(client)
		}
	})
}
