package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"wend/internal/process"
)

// keeper does what an operator does beside the load: erases customers and makes
// backups, and looks whether both are what they have to be.
type keeper struct {
	quiet  *quiet
	calm   time.Time // from then on the store hardly grows
	served *served
	ledger *ledger
	http   *http.Client
	seed   uint64

	receipts          []string
	erasures          int
	backups, restored int
}

// alive is how many customers are there who will be erased, and one more while
// the next one is.
const alive = 3

// erase has customers come and erases them, by their name or by the visitor's
// they had before. What it asks behind an acknowledgement shows none of them.
func (k *keeper) erase(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(k.seed, 300))
	c := client()
	defer c.CloseIdleConnections()
	next := 0
	return k.quiet.each(ctx, func() (time.Duration, error) {
		n := next
		next++
		return k.eraseOne(c, rng, n)
	})
}

// eraseOne has customer n come, and erases the one who came a few before.
func (k *keeper) eraseOne(c *http.Client, rng *rand.Rand, n int) (rest time.Duration, err error) {
	b := k.ledger.doomed(n)
	if _, err := k.ledger.add(c, k.served, b); err != nil {
		return 0, err
	}
	k.ledger.stored.Add(b.events)
	if _, err := k.served.post(c, "/v1/links", fmt.Sprintf(`{"from": %q, "to": %q}`, b.from, b.to), ""); err != nil {
		return 0, err
	}
	if n < alive {
		return 0, nil
	}
	victim := batch{from: fmt.Sprint("dv-", n-alive), to: fmt.Sprint("dc-", n-alive), events: 4}
	after, name := []string{"allow", "suppress"}[n%2], []string{victim.to, victim.from}[rng.IntN(2)]
	k.ledger.erasing.Add(victim.events)
	r, err := send(c, "POST", k.served.URL+"/v1/erase", fmt.Sprintf(`{"customer": %q, "after": %q}`, name, after), "Content-Type", "application/json")
	var receipt struct{ ID string }
	if err == nil {
		err = json.Unmarshal(r.body, &receipt)
	}
	if err != nil || r.status != 202 || receipt.ID == "" {
		return 0, fmt.Errorf("erase %s: %v %d %s", name, err, r.status, r.body)
	}
	k.ledger.erased.Add(victim.events)
	k.erasures++
	k.receipts = append(k.receipts, receipt.ID)
	if err := k.absent(c, victim, alive*victim.events); err != nil {
		return 0, fmt.Errorf("after the erasure of %s: %w", name, err)
	}
	if old := rng.IntN(n - alive + 1); old != n-alive { // nor does anybody come back later
		if err := k.absent(c, batch{from: fmt.Sprint("dv-", old), to: fmt.Sprint("dc-", old)}, alive*victim.events); err != nil {
			return 0, fmt.Errorf("after %d further erasures: %w", n-alive-old, err)
		}
	}
	if after == "suppress" {
		r, err := send(c, "POST", k.served.URL+"/v1/events", fmt.Sprintf(`{"customer": %q, "time": "2025-03-01T10:00:00Z", "event": "doomed", "id": "back-%d"}`, victim.to, n))
		if err != nil || r.status != 200 || !strings.Contains(string(r.body), `"suppressed":1`) {
			return 0, fmt.Errorf("an event of %s, who is not to come back: %v %d %s", victim.to, err, r.status, r.body)
		}
	}
	if time.Now().After(k.calm) { // every receipt is kept: that is no leak, and looks like one
		return 10 * time.Second, nil
	}
	return time.Second, nil
}

// absent asks for an erased customer in several ways; left is how many events
// there are of those who are not erased yet.
func (k *keeper) absent(c *http.Client, b batch, left int64) error {
	for _, name := range []string{b.from, b.to} {
		rows, err := k.served.ask(c, fmt.Sprintf("journey of '%s'", name))
		if err != nil || len(rows) > 0 {
			return fmt.Errorf("the journey of %s: %v, %v", name, rows, err)
		}
	}
	rows, err := k.served.ask(c, "measure events[event = 'doomed'] as n, events[client = 'doomed'] as same")
	if err != nil || rows[0][0] != float64(left) || rows[0][1] != float64(left) {
		return fmt.Errorf("%v events are there, want %d: %v", rows, left, err)
	}
	return nil
}

// allErased waits until the bytes of everybody who was erased are gone.
func (k *keeper) allErased() error {
	state := ""
	for _, id := range k.receipts {
		for range 600 { // a minute
			r, err := send(k.http, "GET", k.served.URL+"/v1/erase/"+id, "")
			var receipt struct{ State string }
			if err == nil {
				err = json.Unmarshal(r.body, &receipt)
			}
			if err != nil {
				return err
			}
			if state = receipt.State; state == "done" {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if state != "done" {
			return fmt.Errorf("an erasure is %q a minute after the load", state)
		}
	}
	return nil
}

// backUp makes backups, in new folders and over earlier ones, restores them
// and compares them with what the log had up to their number.
func (k *keeper) backUp(ctx context.Context) error {
	for k.ledger.erased.Load() == 0 { // before the first one there is no ledger to restore with
		if wait(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return nil
		}
	}
	next := 0
	return k.quiet.each(ctx, func() (time.Duration, error) {
		n := next
		next++
		return k.backUpOnce(n)
	})
}

func (k *keeper) backUpOnce(n int) (rest time.Duration, err error) {
	name := "kept"
	if n%3 == 0 {
		name = fmt.Sprint("new-", n)
	}
	r, err := send(k.http, "POST", k.served.URL+"/v1/backup", fmt.Sprintf(`{"name": %q}`, name), "Content-Type", "application/json")
	var made struct{ LSN uint64 }
	if err == nil {
		err = json.Unmarshal(r.body, &made)
	}
	if err != nil || r.status != 200 || made.LSN == 0 {
		return 0, fmt.Errorf("backup: %v %d %s", err, r.status, r.body)
	}
	k.backups++
	// What is in it was begun before it ended: when all of that is acknowledged, it is known.
	for begun := k.ledger.sent.Load(); k.ledger.stored.Load() < begun; {
		time.Sleep(5 * time.Millisecond)
	}
	dir := filepath.Join(k.served.dir+".backups", name)
	if err := k.restore(dir, made.LSN); err != nil {
		return 0, fmt.Errorf("backup %d, %s, up to %d: %w", n, name, made.LSN, err)
	}
	k.restored++
	if name != "kept" {
		if err := os.RemoveAll(dir); err != nil {
			return 0, err
		}
	}
	return 5 * time.Second, nil
}

func (k *keeper) restore(dir string, lsn uint64) error {
	store := k.served.dir + ".restored"
	defer os.RemoveAll(store)
	if out, err := exec.Command(process.Program, "restore", dir, store, "--ledger", k.served.dir+".erased").CombinedOutput(); err != nil {
		return fmt.Errorf("restore: %w\n%s", err, out)
	}
	// Erasures of the time after the backup are done again: no more of the doomed than were not erased.
	out, err := exec.Command(process.Program, "query", store, "measure events[client != 'doomed'] as events, sum(n)[client != 'doomed'] as numbers, sum(value) as sum, events[client = 'doomed'] as doomed", "-o", "csv").CombinedOutput()
	if err != nil {
		return fmt.Errorf("query: %w\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var events, numbers, sum, doomed int64
	if _, err := fmt.Sscanf(lines[len(lines)-1], "%d,%d,%d,%d", &events, &numbers, &sum, &doomed); err != nil {
		return fmt.Errorf("read %q: %w", out, err)
	}
	wantEvents, wantNumbers := k.ledger.upTo(lsn)
	if events != wantEvents || numbers != wantNumbers || sum != 0 {
		return fmt.Errorf("%d events whose numbers sum to %d and values to %d, want %d, %d and 0", events, numbers, sum, wantEvents, wantNumbers)
	}
	if doomed > 4*(alive+1) {
		return fmt.Errorf("%d events of customers to be erased, of whom there are %d at a time: some are back", doomed, alive+1)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
