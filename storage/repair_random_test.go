package storage

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"wend/event"
	"wend/internal/trust"
)

// randomPast lives through what a seed says.
func randomPast(t testing.TB, r *rand.Rand) *past {
	ctx := context.Background()
	p := begin(t)
	customers := []string{"ann", "bob", "cid", "dan", "eve", "fay"}
	some := func() []event.Event {
		var list []event.Event
		for range 1 + r.IntN(3) {
			list = append(list, p.events(2024+r.IntN(4), 1+r.IntN(3), customers[r.IntN(len(customers))])...)
		}
		return list
	}
	imports := map[string][]event.Event{}
	for range 12 + r.IntN(20) {
		var err error
		switch r.IntN(14) {
		default:
			opt := AppendOptions{}
			if r.IntN(2) == 0 {
				opt.Token = fmt.Sprint("t", p.n)
			}
			p.append(some(), opt)
		case 5, 6:
			err = p.s.Flush(ctx)
		case 7:
			err = p.s.Compact(ctx)
		case 8:
			list := some()
			imports[p.load(list)] = list
		case 9:
			for _, id := range slices.Sorted(maps.Keys(imports)) {
				if _, err = p.s.Undo(ctx, id); err == nil {
					p.hideAll(imports[id], id)
				}
				delete(imports, id)
				break
			}
		case 10:
			_ = p.s.Link(ctx, customers[r.IntN(len(customers))], customers[r.IntN(len(customers))]) // some are no links
		case 11, 12:
			c := customers[r.IntN(len(customers))]
			gone := p.s.state().belonging(c)
			_, err = p.s.Erase(ctx, c, EraseOptions{})
			for id, who := range p.who {
				if slices.Contains(gone, who) && (p.shown[id] || p.gone[id] != "") {
					delete(p.shown, id)
					p.gone[id] = "erased"
				}
			}
			worked := true
			for steps := r.IntN(12); steps > 0 && worked && err == nil; steps-- {
				worked, err = p.s.EraseStep(ctx)
			}
		case 13:
			err = p.s.Close()
			p.must(err)
			opt := p.options()
			opt.Rand = rand.New(rand.NewPCG(r.Uint64(), 2)) // as it would be
			p.s, err = Open("data/store", opt)
		}
		p.must(err)
		if len(p.s.state().erasures) > 0 && len(p.s.state().erasing()) == 0 {
			clear(p.files) // what was removed before the end of an erasure is gone for good
		}
	}
	p.end()
	return p
}

// hideAll is hide for what is not erased already.
func (p *past) hideAll(list []event.Event, why string) {
	for _, e := range list {
		if p.shown[e.ID] {
			delete(p.shown, e.ID)
			p.gone[e.ID] = why
		}
	}
}

// TestRepairRandom repairs stores of random pasts with random damage.
// WEND_REPAIRS is how many.
func TestRepairRandom(t *testing.T) {
	cases := int(trust.Number("WEND_REPAIRS", 300))
	if testing.Short() {
		cases = 60
	}
	seed := trust.Number("WEND_SEED", 1)
	missing, again := 0, 0
	for i := range cases {
		t.Run(fmt.Sprint("case ", i), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			p := randomPast(t, r)
			if r.IntN(2) == 0 {
				for file, data := range p.files {
					p.must(p.fs.Put(file, data))
				}
			}
			name := p.manifest()
			data := p.fs.Files()[name]
			at := edits(data)
			how := ""
			if r.IntN(4) == 0 {
				how = "no manifest"
				for file := range p.fs.Files() {
					if strings.HasPrefix(path.Base(file), manifestPrefix) {
						p.must(p.fs.Remove(file))
					}
				}
				p.must(p.fs.SyncDir("data/store"))
			} else {
				for range 1 + r.IntN(3) {
					k := r.IntN(len(at) - 1)
					how += fmt.Sprintf("edit %d: %.300s\n", k, data[at[k]+editHeader:at[k+1]])
					for _, file := range []string{name, name + copySuffix} {
						p.must(p.fs.Edit(file, func(b []byte) []byte { b[at[k]+editHeader+1] = '!'; return b }))
					}
				}
			}
			done, err := p.repaired()
			if err != nil {
				t.Fatalf("%v\n%s\n%+v", err, how, done)
			}
			missing += len(done.Missing)
			again += done.Erased
		})
	}
	trust.Report(t, "P6", "manifests of random stores repaired", cases, "files named as missing", missing, "erasures done again", again, "violations", 0, "seed", seed)
}
