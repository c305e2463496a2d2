package main

import (
	"encoding/csv"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wend/internal/shared"
)

// known is a file of real events, the flags of its import, and answers that
// others, or an independent script, have computed. An answer lists some columns
// of what -o csv prints and the rows that must stand first.
type known struct {
	file    string
	flags   string
	summary string
	answers []knownAnswer
}

type knownAnswer struct {
	statement string
	rows      int // all rows of the answer; 0: as many as want
	want      string
}

const (
	fines  = "'Create Fine' -> 'Send Fine' -> 'Insert Fine Notification' -> 'Add penalty' -> 'Send for Credit Collection'"
	loans  = "A_SUBMITTED -> A_PREACCEPTED -> A_ACCEPTED -> O_SENT -> O_SENT_BACK -> A_APPROVED"
	sepsis = "'ER Registration' -> 'ER Triage' -> 'ER Sepsis Triage' -> 'IV Antibiotics' -> 'Admission NC' -> 'Release A'"
)

var knownData = []known{
	{"road-traffic-fines.csv.zst", "--map customer=case_id,event=activity,time=timestamp",
		"imported 561470 events, 150370 customers, 0 duplicates, 0 rejected", []knownAnswer{
			{"funnel " + fines + " within 36500d", 0, "customers\n150370\n103987\n79860\n79860\n59013"},
			{"funnel " + fines + " within 365d", 0, "customers,dropped,open\n150370,44019,2399\n103952,22803,1348\n79801,56,0\n79745,79095,531\n119,0,0"},
			{"funnel " + fines + " within 180d", 0, "customers,dropped,open,median_from_first\n150370,47396,515,0\n102459,23070,1018,7430400000\n78371,28747,0,8899200000\n49624,49602,22,12009600000\n0,0,0,"},
			{"funnel " + fines + " within 180d ties arrival", 0, "customers\n150370\n102459\n78371\n49624\n0"},
			{"funnel 'Create Fine' -> Payment within 60d", 0, "customers,dropped,open,median_from_first\n150370,103326,566,0\n46478,0,0,432000000"},
			{"dropoff " + fines + " within 180d top 3", 16, "step,next,customers\n1,Payment,45870\n1,Send Fine,1523"},
			{"dropoff " + fines + " within 180d top 3 order by step desc", 16, "step,next,customers\n4,Send for Credit Collection,36585"},
			{"paths length 5 top 3", 0, "journeys\n56482\n46371\n20385"},
			{"paths length 5 top 1000", 53, "path,journeys\n\"Create Fine > Send Fine > Insert Fine Notification > Add penalty > Send for Credit Collection\",56482"},
			{"paths length 200 top 1000", 231, "journeys\n56482\n46371\n20385"},
			{"paths to Payment within 365d length 5 top 1000", 71, "journeys\n46922"},
			{"measure events, customers", 0, "events,customers\n561470,150370"},
			{"paths from 'Send Fine' to Payment within 365d length 5 order by path limit 1", 0, "path,journeys\n(longer),415"},
			{"transitions top 5", 0, "source,target,count\nCreate Fine,Send Fine,103392\nSend Fine,Insert Fine Notification,79757\nInsert Fine Notification,Add penalty,72334\nAdd penalty,Send for Credit Collection,57182\nCreate Fine,Payment,46952"},
		}},
	{"bpi2012.csv.zst", "--map customer=case,event=activity,time=timestamp",
		"imported 262200 events, 13087 customers, 0 duplicates, 0 rejected", []knownAnswer{
			{"paths length 200 top 10000", 4366, "journeys\n3429"},
			{"funnel " + loans + " within 36500d", 0, "customers\n13087\n7367\n5113\n5015\n3254\n2246"},
			{"funnel " + loans + " within 30d", 0, "customers,dropped,open\n13087,4948,772\n7367,1937,317\n5113,87,11\n5015,1603,266\n3146,922,166\n2058,0,0"},
			{"funnel " + loans + " within 7d", 0, "customers\n13087\n7366\n5023\n4932\n879\n126"},
			{"paths length 200 collapse top 2", 0, "journeys\n3429\n2225"},
			{"transitions where event = 'W_Completeren aanvraag' top 1", 0, "source,target\nW_Completeren aanvraag,W_Completeren aanvraag"},
			{"transitions top 1", 0, "source,target,count\nW_Completeren aanvraag,W_Completeren aanvraag,38004"},
		}},
	{"sepsis.csv.zst", "--map customer=Case_ID,event=Activity,time=Complete_Timestamp",
		"imported 15190 events, 1049 customers, 0 duplicates, 24 rejected", []knownAnswer{
			{"paths length 200 top 10000", 845, "journeys\n35"},
			{"funnel " + sepsis + " within 36500d", 0, "customers\n1049\n1043\n1026\n801\n673\n571"},
			{"funnel " + sepsis + " within 1h", 0, "customers\n1049\n1040\n959\n266\n1\n0"},
			{"funnel 'Release A' -> 'Return ER' within 28d", 0, "customers\n671\n104"},
		}},
	{"taobao-10k.csv", "--map customer=user",
		"imported 10000 events, 114 customers, 0 duplicates, 0 rejected", []knownAnswer{
			{"measure events by event", 0, "event,events\npv,9046\ncart,536\nfav,212\nbuy,206"},
			{"funnel pv -> cart -> buy within 36500d", 0, "customers\n112\n79\n45"},
			{"funnel pv -> cart -> buy within 1d", 0, "customers,dropped,open,median_from_first\n112,5,28,0\n79,2,47,174000\n30,0,0,5095500"},
			{"dropoff pv -> cart -> buy within 1d", 0, "step,next,customers\n1,buy,4\n1,(nothing),1\n2,(nothing),1\n2,pv,1"},
			{"funnel pv -> cart -> buy within 36500d holding item", 0, "customers\n112\n40\n7"},
			{"funnel pv -> fav -> buy within 36500d", 0, "customers\n112\n34\n15"},
		}},
	{"attribution-events.csv.zst", "",
		"imported 397994 events, 88387 customers, 0 duplicates, 0 rejected", []knownAnswer{
			{"measure events[event = 'conversion'] as conversions, round(sum(value) * 100) / 100 as value", 0, "conversions,value\n19785,74802.97"},
		}},
	{"reconstructr-sessions.csv.zst", "--map customer=uuid,time=timestamp --set event=view",
		"imported 63524 events, 10000 customers, 0 duplicates, 0 rejected", []knownAnswer{
			{"measure sessions per session gap 1800s", 0, "sessions\n22224"},
		}},
	{"wikiticker.ndjson.zst", "--map customer=user,event=namespace,channel=channel,time=time",
		"imported 39244 events, 10531 customers, 0 duplicates, 0 rejected", []knownAnswer{
			{"measure events by channel", 51, "channel,events\n#en.wikipedia,11549\n#vi.wikipedia,9747\n#de.wikipedia,2523"},
		}},
	{"online-retail.csv.zst", "--map customer=CustomerID,time=InvoiceDate --set event=purchase",
		"imported 406829 events, 4372 customers, 0 duplicates, 135080 rejected", []knownAnswer{
			{"measure customers, events, sum(Quantity * UnitPrice) as sales", 0, "customers,events,sales\n4372,406829,8300065.814"},
		}},
	{"complete-journey/campaigns.csv", "--map customer=household_id --set event=mailing --set channel=mail --set time=2017-01-01",
		"imported 6589 events, 1559 customers, 0 duplicates, 0 rejected", nil},
	{"complete-journey/coupon_redemptions.csv", "--map customer=household_id,time=redemption_date --set event=redemption --set channel=coupon",
		"imported 2102 events, 410 customers, 0 duplicates, 0 rejected", nil},
	{"complete-journey/transactions_sample.csv.zst", "--map customer=household_id,time=transaction_timestamp --set event=purchase --set channel=store",
		"imported 75000 events, ", []knownAnswer{
			{"measure round(sum(sales_value) * 100) / 100 as sales", 0, "sales\n233935.24"},
		}},
	{"bpi2015-1.csv.zst", "--map customer=case_concept.name,event=event_concept.name,time=event_time.timestamp",
		"imported 52217 events, 1199 customers, 0 duplicates, 0 rejected", nil},
}

func TestKnownAnswers(t *testing.T) {
	shared.Path(t, "data")
	bin := buildWend(t)
	for _, data := range knownData {
		t.Run(data.file, func(t *testing.T) {
			t.Parallel()
			db := filepath.Join(t.TempDir(), "db")
			args := append([]string{"import", db, shared.Path(t, "data", data.file)}, strings.Fields(data.flags)...)
			out, err := exec.Command(bin, args...).Output()
			if err != nil {
				t.Fatalf("wend %q: %v", args, err)
			}
			if !strings.HasPrefix(string(out), data.summary) {
				t.Fatalf("wend %q says\n%s\nwant\n%s", args, out, data.summary)
			}
			for _, a := range data.answers {
				checkKnown(t, bin, db, a)
			}
		})
	}
}

func checkKnown(t *testing.T, bin, db string, a knownAnswer) {
	t.Helper()
	out, err := exec.Command(bin, "query", db, a.statement, "-o", "csv").Output()
	if err != nil {
		t.Errorf("%s: %v", a.statement, err)
		return
	}
	got, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want, err := csv.NewReader(strings.NewReader(a.want)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := a.rows
	if rows == 0 {
		rows = len(want) - 1
	}
	if len(got)-1 != rows {
		t.Errorf("%s has %d rows, want %d\n%s", a.statement, len(got)-1, rows, out)
	}
	for c, name := range want[0] {
		at := slices.Index(got[0], name)
		if at < 0 {
			t.Errorf("%s has no column %s", a.statement, name)
			continue
		}
		for r := 1; r < len(want) && r < len(got); r++ {
			if got[r][at] != want[r][c] {
				t.Errorf("%s: row %d, %s is %s, want %s", a.statement, r, name, got[r][at], want[r][c])
			}
		}
	}
}
