package demo

import (
	"os"
	"testing"
)

func TestSameSeedMakesSameFiles(t *testing.T) {
	read := func() map[string]string {
		dir := t.TempDir()
		files, err := New(7, 200).Write(dir)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]string{}
		for _, f := range files {
			b, err := os.ReadFile(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			texts[f.Path[len(dir):]] = string(b)
		}
		return texts
	}
	a, b := read(), read()
	for name, text := range a {
		if text != b[name] || text == "" {
			t.Errorf("%s differs between two runs of one seed, or is empty", name)
		}
	}
}

// What is planted must be there: the share of reservations without a pick-up,
// and the fall of the score over a transferred call.
func TestPlantedEffects(t *testing.T) {
	shop := New(1, Customers)
	var reserved, picked, transfers int
	var before, after float64
	last := map[string]int{}
	transferred := map[string]bool{}
	for _, e := range shop.rows {
		switch e.event {
		case "reserve_in_store":
			if e.time.After(Start.AddDate(0, 0, Days-4)) {
				continue // the end of the data may have cut the pick-up off
			}
			reserved++
		case "store_pickup":
			picked++
		case "call_transfer":
			transferred[e.customer] = true
		case "survey":
			if transferred[e.customer] {
				before += float64(last[e.customer])
				after += float64(e.score)
				transfers++
				delete(transferred, e.customer)
			}
			last[e.customer] = e.score
		}
	}
	if loss := 1 - float64(picked)/float64(reserved); loss < HandoverLoss-0.03 || loss > HandoverLoss+0.03 {
		t.Errorf("hand-over loses %.3f of %d, planted %.2f", loss, reserved, HandoverLoss)
	}
	if fall := (before - after) / float64(transfers); fall < ScoreFall-0.15 || fall > ScoreFall+0.15 {
		t.Errorf("a transferred call lowers the score by %.3f over %d, planted %.1f", fall, transfers, ScoreFall)
	}
	t.Logf("%d events, %d links, %d reservations, %d transfers", shop.Events(), len(shop.Links), reserved, transfers)
}
