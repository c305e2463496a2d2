package storage

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"wend/event"
	"wend/tile"
)

// shopBlock makes a block of a tile's size: customers with sessions of about 7
// events a minute apart over 90 days, at milliseconds; channel mostly held,
// device and campaign constant within a session, value on 2 of 24 events.
func shopBlock() (segmentMeta, *rowBlock) {
	meta := segmentMeta{Store: testStore, ID: 1, Channels: []string{""}, Imports: []string{"", "i1"},
		Properties: []event.Property{{Name: "device", Type: event.StringType}, {Name: "campaign", Type: event.StringType}, {Name: "value", Type: event.FloatType}}}
	for i := range 24 {
		meta.Events = append(meta.Events, fmt.Sprint("event", i))
	}
	for i := range 12 {
		meta.Channels = append(meta.Channels, fmt.Sprint("channel", i))
	}
	r := rand.New(rand.NewPCG(1, 2))
	var names []string
	for len(names) < 2048 {
		names = append(names, fmt.Sprint("u", r.IntN(1_000_000_000)))
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(customerHash(a), customerHash(b)) })

	type row struct {
		at                               event.Time
		event, channel, device, campaign uint32
	}
	rows := &rowBlock{Names: tile.NewStrings(names), Starts: []uint32{0}}
	device, campaign, value := &tile.Column{Type: event.StringType}, &tile.Column{Type: event.StringType}, &tile.Column{Type: event.FloatType}
	for range names {
		var own []row
		for range 3 {
			at := r.Int64N(90 * 86_400_000)
			e := row{event: r.Uint32N(6), channel: 1 + r.Uint32N(12), device: r.Uint32N(4), campaign: r.Uint32N(50)}
			for range 1 + int(r.ExpFloat64()*6) {
				e.at = event.Time(at) * 1000
				own = append(own, e)
				at += int64(r.ExpFloat64() * 60_000)
				e.event = (e.event + r.Uint32N(5)) % 24
				if r.IntN(10) == 0 {
					e.channel = 1 + r.Uint32N(12)
				}
			}
		}
		slices.SortStableFunc(own, func(a, b row) int { return cmp.Compare(a.at, b.at) })
		for _, e := range own {
			rows.Event, rows.Time, rows.Channel = append(rows.Event, e.event), append(rows.Time, e.at), append(rows.Channel, e.channel)
			device.Codes, campaign.Codes = append(device.Codes, e.device), append(campaign.Codes, e.campaign)
			cents := 0.0
			if e.event == 12 || e.event == 14 {
				cents = math.Round(r.ExpFloat64() * 5000)
			}
			value.Floats = append(value.Floats, cents/100)
		}
		rows.Starts = append(rows.Starts, uint32(len(rows.Time)))
	}
	n := len(rows.Time)
	for _, c := range []*tile.Column{device, campaign, value} {
		c.Present = tile.NewBitmap(n)
		c.Present.Fill(n)
	}
	tile.NewCodes(rows.Event).Match([]uint32{12, 14}, n, value.Present)
	for i := range 50 {
		campaign.Dict = append(campaign.Dict, fmt.Sprint("cmp", i))
	}
	device.Dict = campaign.Dict[:4]
	rows.Columns = []*tile.Column{device, campaign, value}
	rows.Import = make([]uint32, n)
	for i := range rows.Import {
		rows.Import[i] = 1
	}
	return meta, rows
}

// perEvent reports the time an event instead of the time a block.
func perEvent(b *testing.B, rows int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/event")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSegmentWrite also tells what each column takes.
func BenchmarkSegmentWrite(b *testing.B) {
	meta, rows := shopBlock()
	b.ReportAllocs()
	for b.Loop() {
		w, err := newSegmentWriter(io.Discard, meta)
		if err == nil {
			err = w.AddBlock(0, rows)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, len(rows.Time))
	s := shopSegment(b)
	for column, size := range s.ColumnBytes() {
		if size*100 > int64(len(rows.Time)) {
			b.ReportMetric(float64(size)/float64(len(rows.Time)), column+"-B/event")
		}
	}
	b.ReportMetric(float64(s.Size)/float64(len(rows.Time)), "B/event")
}

func shopSegment(b *testing.B) *segment {
	meta, rows := shopBlock()
	file, _ := writeSegment(b, meta, []*rowBlock{rows})
	s, err := openSegment("bench.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkBlockRead(b *testing.B) {
	s := shopSegment(b)
	block, err := s.Block(0)
	if err != nil {
		b.Fatal(err)
	}
	for _, column := range []struct {
		name string
		read func() error
	}{
		{"event time starts", func() error { _, err := s.Block(0); return err }},
		{"names", func() error { _, err := block.Names(); return err }},
		{"channel", func() error { _, err := block.Channel(); return err }},
		{"device", func() error { _, err := block.Column(0); return err }},
		{"campaign", func() error { _, err := block.Column(1); return err }},
		{"value", func() error { _, err := block.Column(2); return err }},
		{"everything", func() error { _, err := block.Decode(); return err }},
	} {
		b.Run(column.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := column.read(); err != nil {
					b.Fatal(err)
				}
			}
			perEvent(b, block.Rows)
		})
	}
}
