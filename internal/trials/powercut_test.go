package trials

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wend/internal/process"
	"wend/internal/trust"
)

// TestPowerCut is promise P1 on real file systems: the power is cut at a
// random moment under four writers, or while the store is opened after the cut
// before. Nothing that was acknowledged as sync is lost, of interval only the
// last moment, and nothing that was gone comes back.
func TestPowerCut(t *testing.T) {
	seed := trust.Number("WEND_SEED", 1)
	cuts := int(trust.Number("WEND_POWERCUT", 10))
	if testing.Short() {
		cuts = min(cuts, 4)
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			d := newDisk(t, kind)
			r := rand.New(rand.NewPCG(seed, 12))
			dir := filepath.Join(d.dir, "store0")
			h := newHistory()
			var early, acks, interval, late int
			var oldest time.Duration
			for n := range cuts {
				if n%25 == 24 { // another store: long histories only cost time
					acks += h.acks
					h = newHistory()
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
					dir = filepath.Join(d.dir, fmt.Sprint("store", n)) // the cut may bring the old one back
				}
				h.loose = r.IntN(4) == 0
				keep := uint32(journalKept + r.IntN(2))
				var at time.Time
				if r.IntN(8) == 0 {
					early++
					p, err := process.Launch(serve(dir))
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
					at = time.Now()
					err = d.cut(keep)
					p.Kill()
					if err != nil {
						t.Fatal(err)
					}
				} else {
					p := process.Start(t, serve(dir))
					err := h.life(p, time.Duration(5+r.IntN(300))*time.Millisecond, r.Uint64(), func() error {
						at = time.Now()
						err := d.cut(keep)
						p.Kill()
						return err
					})
					if err != nil {
						t.Fatalf("%v\n%s", err, p.Log)
					}
				}
				if err := d.restart(); err != nil {
					t.Fatal(err)
				}
				lost, err := h.check(dir, cut, at)
				if err != nil {
					t.Fatalf("seed %d, cut %d (flag %d): %v", seed, n, keep, err)
				}
				interval += lost.interval
				late += lost.late
				oldest = max(oldest, lost.oldest)
			}
			trust.Report(t, "P1", kind+" power cuts", cuts, "while opening", early, "acks", acks+h.acks, "sync lost", 0,
				"interval batches lost", interval, "not a suffix", 0, "answered behind the cut and lost", late, "oldest lost", oldest.Round(time.Millisecond), "seed", seed)
		})
	}
}
