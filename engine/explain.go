package engine

import (
	"fmt"
	"strings"
	"time"

	"wend/event"
)

// explained is the answer to explain: the plan's operators as rows, outermost
// first. explain analyze ran the statement and says what each cost.
func (r *run) explained(op operator) *Result {
	res := &Result{Columns: []Column{{"operator", String}, {"detail", String}}}
	if r.plan.Analyze {
		res.Columns = append(res.Columns, Column{"events", Integer}, Column{"skipped", Integer}, Column{"elapsed", Duration})
	}
	res.Meta.Plan = r.nodes(op)
	for _, n := range res.Meta.Plan {
		row := []Cell{strings.Repeat("  ", n.Depth) + n.Operator, n.Detail}
		if r.plan.Analyze {
			row = append(row, n.Events, n.Skipped, n.ElapsedMS)
		}
		res.Rows = append(res.Rows, row)
	}
	return res
}

// nodes are the lines of explain: order and limit, the statement, the filters
// on events and customers, and the scan with what it need not read.
func (r *run) nodes(op operator) []PlanNode {
	p := r.plan
	var nodes []PlanNode
	depth := 0
	add := func(n PlanNode) {
		n.Depth = depth
		nodes = append(nodes, n)
		depth++
	}
	if p.Limit > 0 {
		add(PlanNode{Operator: "limit", Detail: fmt.Sprint(p.Limit)})
	}
	if p.Order != nil {
		way := "ascending"
		if p.Order.Desc {
			way = "descending"
		}
		add(PlanNode{Operator: "order", Detail: p.Order.Column + ", " + way})
	}
	top := op.explain(r)
	top.Events = r.stats.events.Load() - r.stats.left.Load()
	top.ElapsedMS = milliseconds(r.stats.work.Load())
	add(top)
	if detail := r.groupDetail(); detail != "" {
		add(PlanNode{Operator: "group", Detail: detail})
	}
	if p.Unit.Session {
		add(PlanNode{Operator: "sessions", Detail: "cut where the gap is larger than " + p.Unit.Gap.String()})
	}
	if p.Where != nil {
		add(PlanNode{Operator: "where", Detail: "bitmap of " + p.Where.Text(), Events: r.stats.events.Load(), Skipped: r.stats.left.Load(), ElapsedMS: milliseconds(r.stats.filter.Load())})
	}
	if p.Among != nil {
		add(PlanNode{Operator: "among", Detail: "bitmap of customers: " + p.Among.Text, ElapsedMS: milliseconds(r.stats.filter.Load())})
	}
	if p.HasEnd {
		add(PlanNode{Operator: "end", Detail: "events after " + p.End.String() + " do not exist"})
	}
	if p.Verb == "show" {
		return nodes // from the catalogue
	}
	scan := PlanNode{Operator: "scan", Detail: r.scanDetail(), Events: r.stats.events.Load(), ElapsedMS: milliseconds(r.stats.read.Load())}
	if r.plan.Analyze && r.stats.tiles.Load() > 0 {
		scan.Skipped = max(0, r.snap.Events()-scan.Events)
		scan.Detail += fmt.Sprintf("; %d bytes", r.stats.bytes.Load())
	}
	add(scan)
	return nodes
}

func milliseconds(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }

func (r *run) groupDetail() string {
	var parts []string
	if len(r.plan.Windows) > 1 {
		parts = append(parts, fmt.Sprintf("%d windows", len(r.plan.Windows)))
	}
	if r.plan.Every != "" {
		parts = append(parts, "every "+r.plan.Every+" in "+r.plan.Timezone.String())
	}
	for _, by := range r.plan.By {
		text := "by " + by.Name
		if by.Top > 0 {
			text += fmt.Sprintf(" top %d", by.Top)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// scanDetail says which tiles and columns the scan reads, and which times it
// has to read.
func (r *run) scanDetail() string {
	r.prune()
	columns := []string{"event", "time"}
	if r.need.Channel {
		columns = append(columns, "channel")
	}
	if r.need.Names {
		columns = append(columns, "customer")
	}
	if r.need.IDs {
		columns = append(columns, "id")
	}
	for _, i := range r.need.Properties {
		columns = append(columns, r.schema.Properties[i].Name)
	}
	tiles := fmt.Sprint(r.snap.Tiles(), " tiles")
	if r.plan.Verb == "journey" {
		tiles = "one tile of " + tiles
	}
	detail := fmt.Sprintf("%s; columns %s", tiles, strings.Join(columns, ", "))
	if r.need.From != 0 || r.need.To != 0 {
		detail += "; times"
		if r.need.From > event.MinTime {
			detail += " from " + r.need.From.String()
		}
		if r.need.To < event.MaxTime {
			detail += " before " + r.need.To.String()
		}
	}
	return detail
}
