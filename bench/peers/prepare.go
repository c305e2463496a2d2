package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

// prepare writes the events of a file in the workload's columns, as often as
// it takes to have the wanted number, every time with other customers.
func prepare(args []string) (err error) {
	var from, out string
	var columns [4]string // customer, event, time, channel
	var events int64
	f := flag.NewFlagSet("prepare", flag.ContinueOnError)
	f.StringVar(&from, "from", "", "the file, a CSV compressed by zstd")
	f.StringVar(&columns[0], "customer", "", "its column for the customer")
	f.StringVar(&columns[1], "event", "", "its column for the event")
	f.StringVar(&columns[2], "time", "", "its column for the time")
	f.StringVar(&columns[3], "channel", "", "its column for the channel")
	f.Int64Var(&events, "events", 5_000_000, "how many events to write at least")
	f.StringVar(&out, "o", "", "the file to write")
	if err := f.Parse(args); err != nil {
		return err
	}
	rows, customers, err := read(from, columns)
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 1<<20)
	fmt.Fprintln(w, "ts,user_id,event,channel,device,campaign,value")
	for written, turn := int64(0), 0; written < events; turn++ {
		for _, r := range rows {
			fmt.Fprintf(w, "%d,u%d,%s,%s,,,\n", r.at, turn*customers+r.customer, strconv.Quote(r.event), strconv.Quote(r.channel))
		}
		written += int64(len(rows))
	}
	return w.Flush()
}

type touch struct {
	at             int64 // ms
	customer       int
	event, channel string
}

func read(from string, columns [4]string) ([]touch, int, error) {
	file, err := os.Open(from)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	z, err := zstd.NewReader(file)
	if err != nil {
		return nil, 0, err
	}
	defer z.Close()
	r := csv.NewReader(z)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return nil, 0, err
	}
	var at [4]int
	for i, c := range columns {
		if at[i] = slices.Index(head, c); at[i] < 0 {
			return nil, 0, fmt.Errorf("there is no column %q", c)
		}
	}
	numbers := map[string]int{}
	var rows []touch
	for {
		record, err := r.Read()
		if err == io.EOF {
			return rows, len(numbers), nil
		}
		if err != nil {
			return nil, 0, err
		}
		t, err := time.Parse(time.RFC3339, record[at[2]])
		if err != nil {
			return nil, 0, err
		}
		n, ok := numbers[record[at[0]]]
		if !ok {
			n = len(numbers)
			numbers[record[at[0]]] = n
		}
		channel := record[at[3]]
		if channel == "" {
			channel = "none"
		}
		rows = append(rows, touch{t.UnixMilli(), n, record[at[1]], channel})
	}
}
