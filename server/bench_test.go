package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
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

// BenchmarkIngest sends batches of a thousand events, durable before they are
// answered, to a store on the disk.
func BenchmarkIngest(b *testing.B) {
	const size = 1000
	db, err := engine.Open(filepath.Join(b.TempDir(), "shop"), engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	srv := httptest.NewServer(New(db, Options{Log: slog.New(slog.DiscardHandler)}).Handler())
	defer srv.Close()
	var sent atomic.Int64
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		var body []byte
		for pb.Next() {
			n := sent.Add(1)
			body = body[:0]
			for i := range int64(size) {
				body = fmt.Appendf(body, `{"customer":"u%d","time":%d,"event":"view_product","channel":"web","device":"mobile","campaign":"cmp%d","value":%d.5}`+"\n",
					(n*size+i)*7919%1_000_000, 1_735_689_600_000+n*size+i, i%50, i%90)
			}
			res, err := client.Post(srv.URL+"/v1/events", "application/x-ndjson", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			if res.StatusCode != http.StatusOK {
				b.Error(res.Status)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	})
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/event")
	b.ReportMetric(0, "ns/op")
}
