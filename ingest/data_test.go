package ingest

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"wend/event"
	"wend/internal/shared"
)

// readAll reads files to their end.
func readAll(t *testing.T, opt Options, paths ...string) (*Reader, []*event.Batch) {
	t.Helper()
	r, err := Open(t.Context(), paths, nil, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, drain(t, r)
}

func TestRealData(t *testing.T) {
	data := shared.Path(t, "data")
	tests := []struct {
		file             string
		opt              Options
		events, rejected int64
		customers        int
		types            string // some properties' types
	}{
		{"road-traffic-fines.csv.zst", Options{}, 561470, 0, 150370, "totalpaymentamount float points integer dismissal string article integer"},
		{"bpi2012.csv.zst", Options{}, 262200, 0, 13087, "case:AMOUNT_REQ integer case:REG_DATE time resource integer"},
		{"sepsis.csv.zst", Options{}, 15190, 24, 1049, "InfectionSuspected boolean LacticAcid float Age integer Diagnose string"},
		{"taobao-10k.csv", Options{}, 10000, 0, 114, "item integer"},
		{"attribution-events.csv.zst", Options{}, 397994, 0, 88387, "value float"},
		{"reconstructr-sessions.csv.zst", Options{Map: map[string]string{"customer": "uuid"}, Set: map[string]string{"event": "view"}}, 63524, 0, 10000, "url string"},
		{"wikiticker.ndjson.zst", Options{Map: map[string]string{"customer": "user", "event": "namespace", "channel": "channel", "time": "time"}}, 39244, 0, 10531, "added integer isNew boolean cityName string metroCode integer"},
		{"online-retail.csv.zst", Options{Map: map[string]string{"customer": "CustomerID", "time": "InvoiceDate"}, Set: map[string]string{"event": "purchase", "channel": "store"}}, 406829, 135080, 4372, "Quantity integer UnitPrice float InvoiceNo string"},
		{"bpi2015-1.csv.zst", Options{Map: map[string]string{"customer": "case_concept.name", "event": "event_concept.name", "time": "event_time.timestamp"}}, 52217, 0, 1199, "event_question string event_dateFinished time"},
		{"complete-journey/coupon_redemptions.csv", Options{Map: map[string]string{"time": "redemption_date"}, Set: map[string]string{"event": "redemption", "channel": "mail"}}, 2102, 0, 410, "coupon_upc integer"},
		{"complete-journey/transactions_sample.csv.zst", Options{Map: map[string]string{"time": "transaction_timestamp"}, Set: map[string]string{"event": "purchase", "channel": "store"}}, 75000, 0, 0, "sales_value float week integer"},
		{"complete-journey/campaigns.csv", Options{Set: map[string]string{"event": "campaign", "channel": "mail", "time": "2017-01-01"}}, 6589, 0, 1559, "campaign_id integer"},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			r, batches := readAll(t, test.opt, filepath.Join(data, test.file))
			customers := map[string]bool{}
			for _, b := range batches {
				for _, c := range b.Customer {
					customers[c] = true
				}
			}
			s := r.Stats()
			if s.Events != test.events || s.Rejected != test.rejected || s.Rows != s.Events+s.Rejected {
				t.Errorf("events %d, rejected %d, rows %d; want %d and %d\n%v", s.Events, s.Rejected, s.Rows, test.events, test.rejected, r.Rejects()[:min(5, len(r.Rejects()))])
			}
			if test.customers != 0 && len(customers) != test.customers {
				t.Errorf("%d customers, want %d", len(customers), test.customers)
			}
			want := strings.Fields(test.types)
			for i := 0; i < len(want); i += 2 {
				for _, p := range r.Mappings()[0].Properties {
					if p.Name == want[i] && p.Type.String() != want[i+1] {
						t.Errorf("%s is %s, want %s", p.Name, p.Type, want[i+1])
					}
				}
			}
			t.Log(r.Mappings()[0])
		})
	}
}

func drain(t *testing.T, r *Reader) []*event.Batch {
	t.Helper()
	var batches []*event.Batch
	for {
		b, err := r.Next(context.Background())
		if err != nil {
			if err.Error() == "EOF" {
				return batches
			}
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
}
