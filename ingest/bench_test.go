//go:build unix

package ingest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkFile reads the file that WEND_BENCH_FILE names, both looks at it
// included.
func BenchmarkFile(b *testing.B) {
	path := os.Getenv("WEND_BENCH_FILE")
	if path == "" {
		b.Skip("WEND_BENCH_FILE names no file")
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	rows := int64(0)
	began := processorTime()
	for b.Loop() {
		r, err := Open(b.Context(), []string{path}, nil, Options{})
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(context.Background()); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		rows += r.Stats().Rows
		r.Close()
	}
	perRow(b, rows, began)
}

// benchText is 10,000 rows as the file of the goals has them.
func benchText() []byte {
	var b bytes.Buffer
	for i := range 10_000 {
		value := ""
		if i%20 == 0 {
			value = fmt.Sprintf("%d.%02d", i%300, i%100)
		}
		fmt.Fprintf(&b, "%d,u%d,%s,web,mobile,cmp%d,%s\n", 1735689600000+int64(i)*389, i*7919%1_000_000, []string{"view_product", "search", "ad_impression"}[i%3], i%50, value)
	}
	return b.Bytes()
}

func BenchmarkScan(b *testing.B) {
	text := benchText()
	b.SetBytes(int64(len(text)))
	var rec records
	began := processorTime()
	for b.Loop() {
		for rec.open(text, ","); rec.scan(); {
		}
	}
	perRow(b, int64(b.N)*10_000, began)
}

// BenchmarkPiece is what one worker does with a piece: the first look, which
// settles types, and the second, which makes batches.
func BenchmarkPiece(b *testing.B) {
	text := benchText()
	path := filepath.Join(b.TempDir(), "a.csv")
	if err := os.WriteFile(path, append([]byte("ts,user_id,event,channel,device,campaign,value\n"), text...), 0o666); err != nil {
		b.Fatal(err)
	}
	r, err := Open(b.Context(), []string{path}, nil, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	p := r.parts[0]
	w := newWorker(r.reading, typing{}, p, 0)
	piece := piece{data: text, line: 2}
	s := newSurvey(p.layout)
	w.survey(piece, s, -1)
	l := p.layout
	for i, c := range s.columns {
		l = l.with(typing{}.decide(c.name, c.source, s.seen[i]))
	}
	b.Run("look", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		began := processorTime()
		for b.Loop() {
			w.survey(piece, newSurvey(p.layout), -1)
		}
		perRow(b, int64(b.N)*10_000, began)
	})
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		began := processorTime()
		for b.Loop() {
			w.parse(piece, l)
		}
		perRow(b, int64(b.N)*10_000, began)
	})
}

func BenchmarkDecodeJSON(b *testing.B) {
	var body strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&body, `{"customer":"u%d","time":%d,"event":"view_product","channel":"web","id":"m%d","device":"mobile","value":%d.5,"cart":{"items":%d}}`+"\n", i*7919%1000, 1735689600000+int64(i)*389, i, i%90, i%7)
	}
	text := body.String()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	began := processorTime()
	for b.Loop() {
		if d, err := DecodeJSON(strings.NewReader(text), JSONOptions{}); err != nil || d.Batch.Len() != 10_000 {
			b.Fatal(err)
		}
	}
	perRow(b, int64(b.N)*10_000, began)
}
