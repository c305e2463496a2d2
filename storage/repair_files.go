package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
)

// repairFile is a segment file, and where in the store its rows lie: two files
// that lie apart, by arrival, by partition or by customers, have no row in common.
type repairFile struct {
	segmentRecord
	seg      *segment // nil: it cannot be opened
	named    bool     // by an edit; the others are known by their own footers
	sure     bool     // and no edit that is missing can have taken it out
	from, to uint64   // the hashes of its customers, both inclusive
}

func (f *repairFile) overlaps(o *repairFile) bool {
	return f.Partition == o.Partition && f.FirstLSN <= o.LastLSN && o.FirstLSN <= f.LastLSN && f.from <= o.to && o.from <= f.to
}

func overlapsAny(f *repairFile, list []*repairFile) bool {
	return slices.ContainsFunc(list, f.overlaps)
}

// span notes which hashes the blocks with rows are for.
func (f *repairFile) span() {
	f.from, f.to = 0, math.MaxUint64
	if f.seg != nil && len(f.seg.blocks) > 0 && f.seg.PrefixBits > 0 {
		unused := 64 - f.seg.PrefixBits
		f.from = uint64(f.seg.blocks[0].block) << unused
		f.to = uint64(f.seg.blocks[len(f.seg.blocks)-1].block+1)<<unused - 1
	}
}

// found is the segment files of a store, as a repair sees them.
type found struct {
	files  []*repairFile
	unread []Damage // no edit names them, and their footers cannot be read
	stray  []string // not of the store, or not any more
	close  []io.Closer
}

// findSegments opens the segments that edits name, and all others in the
// store's folder whose own footer says what they are.
func (r *repairer) findSegments() (*found, error) {
	all := &found{}
	there := map[uint64]bool{}
	for _, name := range r.names {
		id, ok := fileNumber(name)
		if !ok || !strings.HasSuffix(name, ".seg") {
			continue
		}
		there[id] = true
		named := slices.IndexFunc(r.v.st.segments, func(s segmentRecord) bool { return s.ID == id })
		if named < 0 && (r.v.removed[id] || r.v.st.quarantined(name)) {
			continue // as after a crash: the next opening deals with it
		}
		f, damage, err := r.openFound(all, name, id, named)
		switch {
		case err != nil:
			return all, err
		case f != nil:
			all.files = append(all.files, f)
		case damage.Reason == "" || !r.v.mayBeOf(id):
			all.stray = append(all.stray, name)
		default:
			all.unread = append(all.unread, damage)
		}
	}
	for _, s := range r.v.st.segments {
		if !there[s.ID] {
			f := &repairFile{segmentRecord: s, named: true, sure: r.v.sure(s.ID)}
			f.span()
			all.files = append(all.files, f)
		}
	}
	return all, nil
}

// openFound opens a segment file. It returns none of a file that no edit names
// and that cannot be the store's; damage says why nobody knows whether it is.
func (r *repairer) openFound(all *found, name string, id uint64, named int) (f *repairFile, damage Damage, err error) {
	file, size, err := r.s.openSized(name)
	if file != nil {
		all.close = append(all.close, file)
	}
	if err != nil {
		return nil, damage, err
	}
	f = &repairFile{}
	if named >= 0 {
		f.segmentRecord = r.v.st.segments[named]
		f.named, f.sure = true, r.v.sure(id)
	}
	seg, err := openSegment(name, file, size, r.store, id)
	switch {
	case err == nil && (!f.named || seg.Salt == f.Salt && size == f.Size):
		f.seg = seg
	case err != nil && !errors.Is(err, ErrCorrupt):
		return nil, damage, err
	case f.named: // the next opening sets it aside
	case r.foreign(name):
		return nil, damage, nil
	default:
		return nil, Damage{name, err.Error()}, nil
	}
	f.span()
	if f.named {
		return f, damage, nil
	}
	info, err := checkSegment(name, file, size, r.store, id, nil)
	if errors.Is(err, ErrCorrupt) {
		return nil, Damage{name, err.Error()}, nil
	}
	f.segmentRecord = segmentRecord{
		ID: id, Size: size, Checksum: info.Checksum, Hash: info.Hash, Salt: seg.Salt, FirstLSN: seg.FirstLSN, LastLSN: seg.LastLSN,
		Rows: info.Rows, Customers: info.Customers, MinTime: info.MinTime, MaxTime: info.MaxTime,
	}
	return f, damage, err
}

// foreign reports whether a segment's header is sound and names another store.
func (r *repairer) foreign(name string) bool {
	store, ok := segmentStore(r.s.head(name, headerSize))
	return ok && store != r.store
}

// width is the width of partitions. Where nobody knows it any more it is one by
// which each file lies in one of them: the first that is chosen from today by
// which no two files overlap, or the narrowest, which older stores have.
func (r *repairer) width(files []*repairFile) string {
	if r.v.st.width != "" || len(files) == 0 {
		return r.v.st.width
	}
	fits := func(width string) bool {
		for _, f := range files {
			var one bool
			if f.Partition, one = f.partition(width); !one {
				return false
			}
		}
		return true
	}
	for _, width := range widths {
		if !fits(width) {
			continue
		}
		if _, older := newest(files); len(older) == 0 {
			return width
		}
	}
	for _, width := range append([]string{widthMonth}, widths...) {
		if fits(width) {
			return width
		}
	}
	return widthAll
}

func (f *repairFile) partition(width string) (partition int64, one bool) {
	partition, _, _ = partitionOf(width, f.MinTime)
	last, _, _ := partitionOf(width, f.MaxTime)
	return partition, partition == last
}

// choice is which segments are the store's.
type choice struct {
	kept     []*repairFile
	replaced []*repairFile // their rows are in others, that were written later
	doubtful map[*repairFile]string
	merged   map[*repairFile]bool // of those kept: written from others
}

// choose picks the files that hold each row once. Where they overlap, one was
// written from the others, by a compaction or an erasure, and has the higher number: it
// is taken, because all that it lacks was taken out. That the others have no
// more is verified; if it cannot be, they are in doubt.
func (r *repairer) choose(ctx context.Context, files []*repairFile) (*choice, error) {
	c := &choice{doubtful: map[*repairFile]string{}, merged: map[*repairFile]bool{}}
	var rest, stale []*repairFile
	for _, f := range files {
		if f.sure {
			c.kept = append(c.kept, f)
		}
	}
	for _, f := range files {
		switch {
		case f.sure:
		case overlapsAny(f, c.kept), !f.named && !r.v.mayBeOf(f.ID):
			c.replaced = append(c.replaced, f) // what a crash left: no edit has it
		case !f.named && r.v.stale(f.ID):
			stale = append(stale, f)
		default:
			rest = append(rest, f)
		}
	}
	slices.SortFunc(rest, func(a, b *repairFile) int { return cmp.Compare(b.ID, a.ID) })
	chosen, older := newest(rest)
	if seeded.On("repair_doubles") {
		chosen, older = rest, nil
	}
	before, _ := newest(older) // those before them are replaced twice
	for _, group := range groups(chosen, before) {
		reason, err := r.compare(ctx, group.chosen, group.before)
		if err != nil {
			return nil, err
		}
		for _, f := range group.chosen {
			c.merged[f] = true
		}
		for _, f := range group.before {
			if reason != "" {
				c.doubtful[f] = reason
			}
		}
	}
	for _, f := range older {
		if c.doubtful[f] == "" {
			c.replaced = append(c.replaced, f)
		}
	}
	c.kept = append(c.kept, chosen...)
	for _, f := range stale {
		if overlapsAny(f, c.kept) {
			c.replaced = append(c.replaced, f)
		} else {
			c.doubtful[f] = "it was written before the first edit of the manifest, which does not name it"
		}
	}
	return c, nil
}

// newest takes files, newest first, that do not overlap.
func newest(files []*repairFile) (chosen, older []*repairFile) {
	for _, f := range files {
		if overlapsAny(f, chosen) {
			older = append(older, f)
		} else {
			chosen = append(chosen, f)
		}
	}
	return chosen, older
}

// group is files of which the one part was written from the other.
type group struct{ chosen, before []*repairFile }

// groups puts together what overlaps.
func groups(chosen, before []*repairFile) (list []group) {
	left := slices.Clone(before)
	for len(left) > 0 {
		g := group{before: left[:1:1]}
		left = left[1:]
		for grown := true; grown; {
			grown = false
			for _, f := range chosen {
				if !slices.Contains(g.chosen, f) && overlapsAny(f, g.before) {
					g.chosen, grown = append(g.chosen, f), true
				}
			}
			left = slices.DeleteFunc(left, func(f *repairFile) bool {
				if !overlapsAny(f, g.chosen) {
					return false
				}
				g.before, grown = append(g.before, f), true
				return true
			})
		}
		list = append(list, g)
	}
	return list
}

// compare says why the rows of files cannot be shown to be in those that were
// written from them, but for what is known to be taken out; "": they are.
func (r *repairer) compare(ctx context.Context, chosen, before []*repairFile) (string, error) {
	var have, had int64
	readable := true
	var later []string
	for _, f := range chosen {
		have += f.Rows
		later = append(later, f.file())
		readable = readable && f.seg != nil
	}
	for _, f := range before {
		had += f.Rows
		readable = readable && f.seg != nil
	}
	if !readable {
		// The files are gone, as after a compaction. Their rows were counted.
		if have == had || r.takesOut() && covers(chosen, before) {
			return "", nil
		}
		return fmt.Sprintf("%s took its place, with %d rows of %d: the others were taken out, or are lost", strings.Join(later, " and "), have, had), nil
	}
	var now, was, less rowSum
	for _, f := range chosen {
		sum, _, err := r.rowSums(ctx, f)
		if err != nil {
			return "", err
		}
		now.add(sum)
	}
	for _, f := range before {
		all, kept, err := r.rowSums(ctx, f)
		if err != nil {
			return "", err
		}
		was.add(all)
		less.add(kept)
	}
	if now == was || now == less {
		return "", nil
	}
	return fmt.Sprintf("%s overlaps it and was written later, with other rows", strings.Join(later, " and ")), nil
}

// takesOut reports whether a file that is written anew may have fewer rows.
func (r *repairer) takesOut() bool {
	st := r.v.st
	return len(st.erasures) > 0 || st.retain != nil || len(r.v.undone) > 0 || slices.ContainsFunc(st.imports, func(i importRecord) bool { return i.Undone })
}

// covers reports whether files are for all customers that others are for.
func covers(chosen, before []*repairFile) bool {
	for _, f := range before {
		at, open := f.from, true
		for open {
			i := slices.IndexFunc(chosen, func(c *repairFile) bool {
				return c.from <= at && at <= c.to && c.FirstLSN <= f.FirstLSN && f.LastLSN <= c.LastLSN
			})
			if i < 0 {
				return false
			}
			if open = chosen[i].to < f.to; open {
				at = chosen[i].to + 1
			}
		}
	}
	return true
}

// rowSums adds up the rows of a segment: all, and those that nothing that is
// known takes out. It reads all of the file.
func (r *repairer) rowSums(ctx context.Context, f *repairFile) (all, kept rowSum, err error) {
	st := r.v.st
	undone := make([]bool, len(f.seg.Imports))
	for code, id := range f.seg.Imports {
		undone[code] = id != "" && (r.v.undone[id] || slices.ContainsFunc(st.imports, func(i importRecord) bool { return i.ID == id && i.Undone }))
	}
	erased := map[string]bool{}
	for _, e := range st.erasures {
		for _, name := range e.Names {
			erased[name] = erased[name] || f.LastLSN <= e.LSN
		}
	}
	hasher := newRowHasher(&f.seg.segmentMeta, f.seg.Properties)
	for _, entry := range f.seg.blocks {
		if err := ctx.Err(); err != nil {
			return all, kept, err
		}
		b, err := f.seg.Block(entry.block)
		if err != nil {
			return all, kept, err
		}
		rows, err := b.Decode()
		if err != nil {
			return all, kept, err
		}
		hashes := hasher.hashes(rows)
		for who := range rows.Names.Len() {
			gone := erased[rows.Names.At(who)]
			for i := rows.Starts[who]; i < rows.Starts[who+1]; i++ {
				row := ofRow(hashes[i])
				all.add(row)
				if !gone && rows.Time[i] >= st.cutoff() && (rows.Import == nil || !undone[rows.Import[i]]) {
					kept.add(row)
				}
			}
		}
	}
	return all, kept, nil
}

// codes is names by code, put together from what edits and segments tell.
type codes struct {
	names []string
	known int // so many are certain: the edits tell them, also that one is ""
}

// fits reports whether a segment's names are at the same codes.
func (c *codes) fits(names []string) bool {
	for code, name := range names {
		switch {
		case name == "":
		case code < len(c.names) && c.names[code] == name:
		case code < c.known, code < len(c.names) && c.names[code] != "", slices.Contains(c.names, name):
			return false
		}
	}
	return true
}

func (c *codes) put(names []string) {
	for code, name := range names {
		if code >= len(c.names) {
			c.names = append(c.names, "")
		}
		if name != "" {
			c.names[code] = name
		}
	}
}

// nameCodes rebuilds the store's dictionaries. Segments whose codes are others were
// never, or are no more, part of it.
func (r *repairer) nameCodes(c *choice) {
	st := r.v.st
	events, channels := &codes{slices.Clone(st.events), len(st.events)}, &codes{slices.Clone(st.channels), len(st.channels)}
	properties, imports := &codes{known: len(st.properties)}, &codes{names: []string{""}, known: len(st.imports) + 1}
	types := map[string]event.Type{}
	for _, p := range st.properties {
		properties.names = append(properties.names, p.Name)
		types[p.Name] = p.Type
	}
	for _, i := range st.imports {
		imports.names = append(imports.names, i.ID)
	}
	typed := func(f *repairFile) (names []string, ok bool) {
		ok = true
		for _, p := range f.seg.Properties {
			names = append(names, p.Name)
			have, known := types[p.Name]
			ok = ok && (p.Name == "" || !known || have == p.Type || have.Numeric() && p.Type.Numeric())
		}
		return names, ok
	}
	order := slices.Clone(c.kept)
	slices.SortFunc(order, func(a, b *repairFile) int {
		if a.named != b.named {
			if a.named {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.ID, a.ID)
	})
	for _, f := range order {
		if f.seg == nil {
			continue // damaged, or missing: the next opening says so
		}
		names, ok := typed(f)
		if !ok || !events.fits(f.seg.Events) || !channels.fits(f.seg.Channels) || !properties.fits(names) || !imports.fits(f.seg.Imports) {
			c.doubtful[f] = "its names are not those of the store"
			continue
		}
		events.put(f.seg.Events)
		channels.put(f.seg.Channels)
		properties.put(names)
		imports.put(f.seg.Imports)
		for _, p := range f.seg.Properties {
			if have, known := types[p.Name]; !known || have == event.IntegerType {
				types[p.Name] = p.Type
			}
		}
	}
	st.events, st.channels = events.names, channels.names
	for i, name := range properties.names {
		t, known := types[name]
		if !known || name == "" {
			t = event.StringType
		}
		if i >= len(st.properties) {
			st.properties = append(slices.Clip(st.properties), event.Property{Name: name})
		} else if name == "" {
			continue
		}
		st.properties[i].Type = r.v.widened(name, t)
	}
	r.imports(c, imports.names[1:])
}

// imports rebuilds the list of imports by the codes that segments have them under.
func (r *repairer) imports(c *choice, ids []string) {
	st := r.v.st
	rows := map[string]int64{}
	for _, f := range c.kept {
		if f.seg == nil || c.doubtful[f] != "" {
			continue
		}
		for code, id := range f.seg.Imports {
			rows[id] += f.seg.ImportCounts[code]
		}
	}
	records := map[string]importRecord{}
	for _, i := range append(slices.Clone(st.imports), r.v.imports...) {
		i.Undone = i.Undone || r.v.undone[i.ID]
		records[i.ID] = i
	}
	st.imports = nil
	used := map[string]bool{}
	for code, id := range ids {
		i, known := records[id]
		switch {
		case id == "": // nothing of it is left
			i = importRecord{ID: fmt.Sprintf("unknown-%d", code+1), Source: unknownSource, Undone: true}
		case !known:
			i = importRecord{ID: id, Source: unknownSource, Events: rows[id], Undone: r.v.undone[id]}
		}
		used[i.ID] = true
		st.imports = append(st.imports, i)
	}
	for _, i := range r.v.imports { // without a row in any segment
		if !used[i.ID] {
			st.imports = append(st.imports, records[i.ID])
		}
	}
}

// unknownSource stands for what an edit that cannot be read said of an import.
const unknownSource = "(not known)"
