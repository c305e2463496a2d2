package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wend/engine"
	"wend/event"
	"wend/internal/trust"
	"wend/storage"
)

// golden is a folder of testdata/stores: a store that a release made, and the
// answers that the release gave.
type golden string

func goldens(t *testing.T) map[int]golden {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("..", "..", "testdata", "stores", "v*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("golden stores: %v %v", dirs, err)
	}
	list := map[int]golden{}
	for _, dir := range dirs {
		format, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "v"))
		if err != nil {
			t.Fatal(err)
		}
		list[format] = golden(dir)
	}
	return list
}

func (g golden) input(name string) string { return filepath.Join(string(g), "..", "input", name) }

func (g golden) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(string(g), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// compare holds all answers of a store against those of the release.
func (g golden) compare(t *testing.T, when, store string) {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(g.read(t, "events.ndjson.gz")))
	if err != nil {
		t.Fatal(err)
	}
	events, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	f := func(what, want string, args ...string) {
		t.Helper()
		if diff := cmp.Diff(want, wend(t, args...)); diff != "" {
			t.Errorf("%s, %s differ (-want +got):\n%s", when, what, diff)
		}
	}
	f("answers", g.read(t, "answers.csv"), "query", store, "-f", g.input("questions.wend"), "-o", "csv")
	f("events", string(events), "export", store, "-o", "ndjson")
	f("links", g.read(t, "links.txt"), "links", store)
	if got := wend(t, "check", store); !strings.HasSuffix(got, " 0 damaged\n") {
		t.Errorf("%s: check says %s", when, got)
	}
}

// wend runs a command and returns what it prints.
func wend(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("wend %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// folder is the checksum of every file of a store but its lock.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		data, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, dir)] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func formatOf(t *testing.T, store string) int {
	t.Helper()
	db, err := openStore(store, reading)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return db.Store().Summary().Format
}

// TestGoldenStores is promise P13: a store of every released format answers as
// it did, is written to without leaving its format, and is upgraded.
func TestGoldenStores(t *testing.T) {
	stores := 0
	defer func() { trust.Report(t, "P13", "golden stores read, written to, compacted and upgraded", stores) }()
	for format, g := range goldens(t) {
		stores++
		t.Run(filepath.Base(string(g)), func(t *testing.T) {
			store := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(store, os.DirFS(filepath.Join(string(g), "store"))); err != nil {
				t.Fatal(err)
			}
			before := folder(t, store)
			g.compare(t, "read beside", store)
			if after := folder(t, store); !maps.Equal(before, after) {
				t.Errorf("reading changed the folder from %v to %v", before, after)
			}

			// A writer knows the ids and the tokens of everything that was sent before.
			if got := wend(t, "import", store, g.input("shop.csv")); got != "imported 0 events, 0 customers, 420 duplicates, 0 rejected\n" {
				t.Errorf("the first file imported again: %s", got)
			}
			g.sendAgain(t, store)
			rejected := sendRejected(t, store)
			g.compare(t, "written to", store)
			wend(t, "compact", store)
			g.compare(t, "compacted", store)
			if lists := manifests(t, store, `"Rejected":[{"Index":0,`); lists != (format == 1) {
				t.Errorf("in format %d the manifest has lists of rejections: %v; the releases of format 1 know nothing else", format, lists)
			}
			if got := formatOf(t, store); got != format {
				t.Errorf("writing took the store from format %d to %d", format, got)
			}

			wend(t, "upgrade", store)
			if got := formatOf(t, store); got != storage.FormatVersion {
				t.Errorf("upgraded, the store has format %d, want %d", got, storage.FormatVersion)
			}
			g.compare(t, "upgraded", store)
			upgraded := folder(t, store)
			if got := wend(t, "upgrade", store); !strings.Contains(got, "already") || !maps.Equal(upgraded, folder(t, store)) {
				t.Errorf("a second upgrade says %s", got)
			}
			g.sendAgain(t, store)
			if diff := cmp.Diff(rejected, sendRejected(t, store)); diff != "" {
				t.Errorf("upgraded, a token is answered otherwise (-first +now):\n%s", diff)
			}
			if manifests(t, store, `"Rejected":[`) {
				t.Error("upgraded, the manifest has lists of rejections")
			}
			g.compare(t, "upgraded and written to", store)
		})
	}
}

// sendAgain sends batches again under their tokens, and wants the first answers.
func (g golden) sendAgain(t *testing.T, store string) {
	t.Helper()
	db, err := engine.Open(store, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for name, token := range map[string]string{"batch1.json": "till-1", "batch2.json": "till-2"} {
		var want struct {
			Accepted, Duplicates, Conflicts int64 // over HTTP, conflicts count among the duplicates
			LSN                             uint64
		}
		if err := json.Unmarshal([]byte(g.read(t, name)), &want); err != nil {
			t.Fatal(err)
		}
		b := event.NewBuilder()
		b.Add(event.Event{Customer: "whoever", Name: "whatever"})
		got, err := db.AppendBatch(t.Context(), b.Batch(), storage.AppendOptions{Token: token})
		if err != nil || got.Accepted != want.Accepted || got.Duplicates+got.Conflicts != want.Duplicates || got.Conflicts != want.Conflicts || got.LSN != want.LSN {
			t.Errorf("token %s sent again: %+v, %v; the first answer was %+v", token, got, err, want)
		}
	}
}

// sendRejected sends a batch that comes too early, the first time or again.
func sendRejected(t *testing.T, store string) storage.Ack {
	t.Helper()
	db, err := engine.Open(store, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := event.NewBuilder()
	for range 3 {
		b.Add(event.Event{Customer: "whoever", Name: "whatever", Time: event.MaxTime})
	}
	ack, err := db.AppendBatch(t.Context(), b.Batch(), storage.AppendOptions{Token: "too early"})
	if err != nil || len(ack.Rejected) != 3 {
		t.Errorf("a batch of the far future: %+v, %v", ack, err)
	}
	return ack
}

// manifests reports whether the manifest of a store has a text.
func manifests(t *testing.T, store, text string) bool {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(store, "MANIFEST-*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("manifests: %v, %v", names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}
