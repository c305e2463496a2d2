package trials

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"wend/internal/process"
	"wend/internal/trust"
	"wend/storage"
)

// TestKill is promises P1 to P3 under kill -9: four writers with all levels of
// durability, the server killed at a random moment, also while it starts, and
// everything acknowledged as sync or interval is there, once, in whole batches.
// Some lives end with SIGTERM: those lose nothing and leave nothing to replay.
func TestKill(t *testing.T) {
	seed := trust.Number("WEND_SEED", 1)
	kills := int(trust.Number("WEND_KILLS", 20))
	if testing.Short() {
		kills = min(kills, 6)
	}
	r := rand.New(rand.NewPCG(seed, 11))
	var sum struct{ kills, early, stops, acks, resent, repeated, memory int }
	for sum.kills < kills {
		dir := filepath.Join(t.TempDir(), "store")
		h := newHistory()
		for range 25 {
			if sum.kills >= kills {
				break
			}
			how := killed
			switch n := r.IntN(12); {
			case n == 0: // while it starts
				p, err := process.Launch(serve(dir))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
				p.Kill()
				sum.kills++
				sum.early++
			default:
				p := process.Start(t, serve(dir))
				if n == 1 {
					how = stopped
				}
				end := func() error { p.Kill(); return nil }
				if how == stopped {
					end = p.Stop
				}
				if err := h.life(p, time.Duration(5+r.IntN(50))*time.Millisecond, r.Uint64(), end); err != nil {
					t.Fatalf("%v\n%s", err, p.Log)
				}
				if how == stopped {
					sum.stops++
				} else {
					sum.kills++
				}
			}
			lost, err := h.check(dir, how, time.Now())
			if err == nil && how == stopped {
				err = nothingToReplay(dir)
			}
			if err != nil {
				t.Fatalf("seed %d, after %d kills and %d stops: %v", seed, sum.kills, sum.stops, err)
			}
			sum.memory += lost.memory
		}
		sum.acks, sum.resent, sum.repeated = sum.acks+h.acks, sum.resent+h.resent, sum.repeated+h.repeated
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if sum.acks < kills {
		t.Errorf("only %d answers in %d lives: nothing was tried", sum.acks, kills)
	}
	trust.Report(t, "P1", "kill -9 kills", sum.kills, "while starting", sum.early, "acks", sum.acks, "lost", 0, "duplicated", 0, "memory batches gone", sum.memory, "seed", seed)
	trust.Report(t, "P3", "kill -9 batches sent again", sum.resent, "of them acknowledged before", sum.repeated, "other answers", 0, "seed", seed)
	trust.Report(t, "P17", "clean stops", sum.stops, "records to replay", 0, "seed", seed)
}

// life lets four writers write for a while, and ends the process.
func (h *history) life(p *process.Server, length time.Duration, seed uint64, end func() error) error {
	c := client()
	defer c.CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var writers sync.WaitGroup
	for w := range uint64(4) {
		writers.Go(func() { h.write(ctx, c, p.URL, seed+w) })
	}
	time.Sleep(length)
	err := end()
	cancel()
	writers.Wait()
	if err != nil {
		return fmt.Errorf("end the server: %w", err)
	}
	if p.Crashed() {
		return errors.New("the server broke")
	}
	return nil
}

func nothingToReplay(dir string) error {
	s, err := storage.Open(dir, storage.Options{ReadOnly: true, CacheBytes: 1 << 20})
	if err != nil {
		return err
	}
	defer s.Close()
	if n := s.Summary().MemtableEvents; n > 0 {
		return fmt.Errorf("a clean stop left %d events in the log", n)
	}
	return nil
}
