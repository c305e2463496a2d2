package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"wend/client"
	"wend/engine"
	"wend/event"
	"wend/server"
	"wend/storage"
	"wend/storage/vfs"
)

// A batch of events that have different properties has far more places for
// values than values. Servers bound those, too.
func TestWideFilesGoToAServerWhole(t *testing.T) {
	for _, names := range []int{1500, 4096} {
		t.Run(fmt.Sprint(names, " names"), func(t *testing.T) {
			db, err := engine.Open("shop", engine.Options{Storage: storage.Options{FS: vfs.NewMem()}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			s := httptest.NewServer(server.New(db, server.Options{}).Handler())
			defer s.Close()
			var text bytes.Buffer
			for i := range 6000 {
				fmt.Fprintf(&text, `{"customer":"c%d","time":"2025-03-01T10:00:00Z","event":"view","p%d":%d}`+"\n", i, i%names, i)
			}
			file := filepath.Join(t.TempDir(), "wide.ndjson")
			if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			cmd := importCommand()
			cmd.SetArgs([]string{s.URL, file})
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			if err := cmd.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := db.Status().Events; n != 6000 || !strings.Contains(out.String(), "imported 6000 events, 6000 customers, 0 duplicates, 0 rejected\n") {
				t.Errorf("%d events of 6000 are there:\n%s", n, &out)
			}
		})
	}
}

// emptyServer is an empty store and a client of its server.
func emptyServer(t *testing.T) (*engine.DB, *client.Client) {
	t.Helper()
	db, err := engine.Open("shop", engine.Options{Storage: storage.Options{FS: vfs.NewMem()}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(server.New(db, server.Options{}).Handler())
	t.Cleanup(func() {
		s.Close()
		_ = db.Close()
	})
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return db, c
}

// Of a file that a store rejects, to its last row, an import holds the first
// hundred, whichever way it goes.
func TestRejectsOfAnImportAreCounted(t *testing.T) {
	db, c := emptyServer(t)
	remote := &serverTarget{client: c}
	for name, to := range map[string]target{"folder": &folderTarget{db: db}, "server": remote} {
		t.Run(name, func(t *testing.T) {
			const rows = 12_000
			if err := to.begin(t.Context(), "bad.csv"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				b := event.NewBuilder()
				for i := range rows / 2 {
					b.Add(event.Event{Customer: fmt.Sprint("c", i), Time: event.MaxTime + 1, Name: "view"})
				}
				if err := to.add(t.Context(), b.Batch()); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(remote.seen); n > 0 {
				t.Errorf("%d rejected rows are held", n)
			}
			done, err := to.finish(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if done.Rejected != rows || len(done.Rejects) != 100 || done.Rejects[99].Index != 99 {
				t.Errorf("%d rows are rejected, %d of them told, want %d and 100", done.Rejected, len(done.Rejects), rows)
			}
		})
	}
}

// An import over HTTP stores what one into a folder does, and once; a column may
// have the name of a field that only senders with clocks of their own use.
func TestImportsAreEqualEitherWay(t *testing.T) {
	for name, text := range map[string]string{
		"times":    "customer,time,event,sent_at\na,2025-03-01T10:00:00Z,mail,2025-02-01T10:00:00Z\nb,2025-03-02T10:00:00Z,mail,\n",
		"texts":    "customer,time,event,sent_at\na,2025-03-01T10:00:00Z,mail,Berlin\nb,2025-03-02T10:00:00Z,mail,2025-03-01\n",
		"integers": "customer,time,event,sent_at\na,2025-03-01T10:00:00Z,mail,1740823200\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "mails.csv")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			run := func(cmd *cobra.Command, args ...string) string {
				t.Helper()
				var out bytes.Buffer
				cmd.SetArgs(args)
				cmd.SetOut(&out)
				cmd.SetErr(io.Discard)
				if err := cmd.ExecuteContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				return out.String()
			}
			db, _ := emptyServer(t)
			s := httptest.NewServer(server.New(db, server.Options{}).Handler())
			defer s.Close()
			folder := filepath.Join(dir, "shop")
			run(importCommand(), folder, file)
			run(importCommand(), s.URL, file)
			run(importCommand(), s.URL, file)
			if got, want := run(exportCommand(), s.URL), run(exportCommand(), folder); got != want {
				t.Errorf("the server has\n%s\nthe folder\n%s", got, want)
			}
		})
	}
}

// Rows of a source that a store calls equal all count, however their values are
// written, and so do rows that differ in the last digit.
func TestRowsSentAllCount(t *testing.T) {
	for name, values := range map[string][]event.Value{
		"zero":            {event.Float(0), event.Float(math.Copysign(0, -1)), event.Float(0)},
		"widened":         {event.Integer(1_000_000), event.Float(1e6), event.Float(0.5)},
		"large":           {event.Integer(1 << 53), event.Integer(1<<53 + 1)},
		"empty or absent": {event.String(""), event.Null, event.String("")},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := emptyServer(t)
			to := &serverTarget{client: c}
			for _, want := range []int64{int64(len(values)), 0} {
				if err := to.begin(t.Context(), "rows.csv"); err != nil {
					t.Fatal(err)
				}
				for _, v := range values {
					b := event.NewBuilder()
					b.Add(event.Event{Customer: "ann", Time: 0, Name: "view", Props: []event.Prop{{Name: "n", Value: v}}})
					if err := to.add(t.Context(), b.Batch()); err != nil {
						t.Fatal(err)
					}
				}
				if done, err := to.finish(t.Context()); err != nil || done.Events != want {
					t.Errorf("%+v, %v, want %d new events", done, err, want)
				}
			}
		})
	}
}
