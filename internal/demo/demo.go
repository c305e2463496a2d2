// Package demo makes the data of a small omnichannel shop: web, app, e-mail,
// advertising, stores and a call centre, as the files that such systems export.
//
// The same seed always makes the same files. Effects are planted, so that
// answers can be checked against what is known: of the hand-overs from a
// reservation to the store, HandoverLoss never arrive; a transferred call
// lowers the satisfaction score that follows by ScoreFall; of those who complain
// after one, CancelAfterComplaint cancel; WalkIns of the customers once come to a
// store without any reason on the web; and who buys shoes in a store takes a bag
// along in AddOns of the cases.
package demo

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// The planted effects.
const (
	HandoverLoss = 0.30 // of reserve_in_store events that no store_pickup follows
	ScoreFall    = 1.0  // mean score before call_transfer less the mean after it

	CancelAfterComplaint = 0.45 // of those who complain after a transferred call
	WalkIns              = 0.20 // of all customers
	AddOns               = 0.30 // of store purchases of shoes, with a bag
)

// Customers is how many people the shop knows when nothing else is asked for.
const Customers = 6000

// Start is the first day of the shop's data; it spans Days days.
var Start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Days is the time that the data spans.
const Days = 120

// Link says that an anonymous visitor turned out to be a customer.
type Link struct{ From, To string }

// Shop is the shop's data before it is written.
type Shop struct {
	rows  []row
	Links []Link
}

type row struct {
	system   string // the file it is exported to
	customer string
	time     time.Time
	event    string
	channel  string
	category string
	campaign string
	store    string
	value    float64 // of a cart or a purchase; 0: none
	score    int     // satisfaction, 1 to 5; 0: none
}

var (
	categories = []string{"shoes", "jackets", "bags", "sports", "kids"}
	campaigns  = []string{"spring", "brand", "retarget"}
	stores     = []string{"Berlin", "Hamburg", "Köln", "München"}
	adChannels = []string{"display", "search_ads", "social"}
)

// New makes a shop with n customers.
func New(seed uint64, n int) *Shop {
	s := &Shop{}
	for i := range n {
		p := &person{
			shop: s, r: rand.New(rand.NewPCG(seed, uint64(i))), aside: rand.New(rand.NewPCG(^seed, uint64(i))),
			known: fmt.Sprintf("C%05d", i+1), id: fmt.Sprintf("anon-%05d", i+1),
			home: "web",
		}
		if p.r.Float64() < 0.35 {
			p.home = "app"
		}
		p.live()
		p.walkIn()
	}
	end := Start.AddDate(0, 0, Days) // who is under way then can still convert
	s.rows = slices.DeleteFunc(s.rows, func(e row) bool { return e.time.After(end) })
	slices.SortStableFunc(s.rows, func(a, b row) int { return a.time.Compare(b.time) })
	return s
}

// person is one customer while the shop's history is being made.
type person struct {
	shop  *Shop
	r     *rand.Rand
	aside *rand.Rand // of what lies beside the visits, and must not change them
	id    string     // what the systems know the person as at the moment
	known string
	home  string // web or app
	now   time.Time
	cat   string
}

func (p *person) live() {
	p.now = Start
	p.wait(time.Duration(p.r.Float64() * float64(Days-20) * float64(24*time.Hour)))
	for visit := range 1 + int(p.r.ExpFloat64()*1.6) {
		if visit > 0 {
			p.wait(time.Duration(p.r.ExpFloat64() * float64(9*24*time.Hour)))
		}
		if p.now.After(Start.AddDate(0, 0, Days)) {
			return
		}
		p.visit(visit == 0)
	}
}

func (p *person) wait(d time.Duration) { p.now = p.now.Add(d + time.Second).Truncate(time.Second) }

func (p *person) minutes(mean float64) {
	p.wait(time.Duration(p.r.ExpFloat64() * mean * float64(time.Minute)))
}

func (p *person) days(mean float64) {
	p.wait(time.Duration(p.r.ExpFloat64() * mean * float64(24*time.Hour)))
}

func (p *person) do(system, event, channel string, more ...func(*row)) {
	e := row{system: system, customer: p.id, time: p.now, event: event, channel: channel}
	for _, m := range more {
		m(&e)
	}
	p.shop.rows = append(p.shop.rows, e)
}

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

// login makes the anonymous visitor known; the shop's systems learn that the
// two identities are one person.
func (p *person) login() {
	if p.id == p.known {
		return
	}
	p.shop.Links = append(p.shop.Links, Link{p.id, p.known})
	p.id = p.known
	p.do(p.home, "login", p.home)
	p.minutes(1)
}

func (p *person) visit(first bool) {
	p.cat = pick(p.r, categories)
	switch x := p.r.Float64(); {
	case x < 0.45:
		ad := pick(p.r, adChannels)
		campaign := pick(p.r, campaigns)
		p.do("ads", "ad_click", ad, func(e *row) { e.campaign = campaign })
		p.minutes(0.2)
	case x < 0.60 && !first:
		p.do("email", "newsletter_open", "email")
		p.minutes(2)
	}
	p.do(p.home, "landing", p.home)
	for range 1 + p.r.IntN(4) {
		p.minutes(1.5)
		p.do(p.home, "view_product", p.home, func(e *row) { e.category = p.cat })
	}
	if p.r.Float64() < 0.3 {
		p.minutes(2)
		p.do(p.home, "review_read", p.home, func(e *row) { e.category = p.cat })
	}
	switch x := p.r.Float64(); {
	case x < 0.40:
		p.buyOnline()
	case x < 0.55:
		p.reserve()
	case x < 0.65:
		p.days(2)
		p.do("store", "store_visit", "store", func(e *row) { e.store = pick(p.r, stores) })
		if p.r.Float64() < 0.5 {
			p.minutes(15)
			p.storePurchase()
		}
	}
}

func (p *person) price() float64 { return float64(int(1500+p.r.ExpFloat64()*6000)) / 100 }

func (p *person) buyOnline() {
	value := p.price()
	p.minutes(2)
	p.do(p.home, "add_to_cart", p.home, func(e *row) { e.category, e.value = p.cat, value })
	if p.r.Float64() < 0.25 {
		p.minutes(3)
		p.do(p.home, "remove_from_cart", p.home, func(e *row) { e.category = p.cat })
		return
	}
	if p.r.Float64() < 0.35 {
		return
	}
	p.minutes(3)
	p.do(p.home, "begin_checkout", p.home, func(e *row) { e.value = value })
	p.minutes(1)
	p.login()
	if p.r.Float64() < 0.2 {
		return
	}
	p.minutes(2)
	p.do(p.home, "purchase", p.home, func(e *row) { e.category, e.value = p.cat, value })
	p.after()
}

// reserve is the hand-over from web or app to the store, and its planted loss.
func (p *person) reserve() {
	p.minutes(2)
	p.login()
	p.do(p.home, "reserve_in_store", p.home, func(e *row) { e.category = p.cat })
	if p.r.Float64() < HandoverLoss {
		return
	}
	p.wait(time.Duration((2 + p.r.Float64()*70) * float64(time.Hour)))
	p.do("store", "store_pickup", "store", func(e *row) { e.store = pick(p.r, stores) })
	if p.r.Float64() < 0.85 {
		p.minutes(10)
		p.storePurchase()
	}
}

func (p *person) storePurchase() {
	value := p.price()
	store := pick(p.r, stores)
	p.do("store", "store_purchase", "store", func(e *row) { e.category, e.value, e.store = p.cat, value, store })
	p.addOn(p.now, p.cat, store)
}

// addOn is a second thing bought at the till.
func (p *person) addOn(at time.Time, bought, store string) {
	category := pick(p.aside, categories)
	chance := 0.06
	if bought == "shoes" && p.aside.Float64() < AddOns {
		category, chance = "bags", 1
	}
	if p.aside.Float64() >= chance {
		return
	}
	value := float64(int(800+p.aside.ExpFloat64()*2500)) / 100
	p.doAside(at.Add(time.Minute), "store", "store_purchase", "store", func(e *row) { e.category, e.value, e.store = category, value, store })
}

// score draws a satisfaction score with mean 4.
func (p *person) score() int {
	switch x := p.r.Float64(); {
	case x < 0.25:
		return 3
	case x < 0.75:
		return 4
	}
	return 5
}

func (p *person) survey(channel string, score int) {
	p.do("service", "survey", channel, func(e *row) { e.score = score })
}

// after is what follows a purchase: a survey, and for some a call. A transferred
// call lowers the score of the survey that follows it.
func (p *person) after() {
	p.days(2)
	p.survey("email", p.score())
	if p.r.Float64() < 0.35 {
		p.days(2)
		p.do("service", "support_call", "call_center")
		fall := 0
		if p.r.Float64() < 0.4 {
			p.minutes(5)
			p.do("service", "call_transfer", "call_center")
			fall = int(ScoreFall)
		}
		p.minutes(30)
		p.survey("call_center", p.score()-fall)
		complains := fall > 0 && p.r.Float64() < 0.4
		if complains {
			p.days(1)
			p.do("service", "complaint", "call_center")
		}
		p.cancel(complains, fall > 0)
	}
	if p.r.Float64() < 0.08 {
		p.days(6)
		p.do("store", "return_item", "store", func(e *row) { e.store = pick(p.r, stores) })
	}
}

// cancel is what some do after a call: they give their customer card back.
func (p *person) cancel(complained, transferred bool) {
	chance := 0.02
	switch {
	case complained:
		chance = CancelAfterComplaint
	case transferred:
		chance = 0.10
	}
	if p.aside.Float64() >= chance {
		return
	}
	channel := pick(p.aside, []string{"call_center", p.home})
	p.doAside(p.now.Add(time.Duration(p.aside.ExpFloat64()*36*float64(time.Hour))), "service", "cancel", channel)
}

// walkIn is a visit to a store that nothing on the web led to.
func (p *person) walkIn() {
	if p.aside.Float64() >= WalkIns {
		return
	}
	day := time.Duration(p.aside.IntN(Days-1)) * 24 * time.Hour
	at := Start.Add(day + 8*time.Hour + time.Duration(p.aside.Float64()*9*float64(time.Hour)))
	store := pick(p.aside, stores)
	here := func(e *row) { e.store = store }
	p.doAside(at, "store", "store_visit", "store", here)
	if p.aside.Float64() < 0.6 {
		value := float64(int(1500+p.aside.ExpFloat64()*6000)) / 100
		category := pick(p.aside, categories)
		at = at.Add(time.Duration(5+p.aside.IntN(25)) * time.Minute)
		p.doAside(at, "store", "store_purchase", "store", here, func(e *row) { e.category, e.value = category, value })
		p.addOn(at, category, store)
	}
}

// doAside is an event that leaves the person's own time as it is.
func (p *person) doAside(at time.Time, system, event, channel string, more ...func(*row)) {
	now := p.now
	p.now = at.Truncate(time.Second)
	p.do(system, event, channel, more...)
	p.now = now
}

// Events returns how many events the shop has.
func (s *Shop) Events() int { return len(s.rows) }

// Write writes the shop's exports into dir, each as its system would: web.csv,
// ads.csv, email.csv, store.csv (semicolons, decimal commas, local time) and
// service.csv, and app.ndjson. It returns the files with the flags they are imported with.
func (s *Shop) Write(dir string) ([]File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the demo's data folder: %w", err)
	}
	var files []File
	for _, system := range []string{"ads", "web", "email", "store", "service"} {
		f := File{Path: filepath.Join(dir, system+".csv")}
		if system == "store" {
			f.DecimalComma, f.Timezone = true, "Europe/Berlin"
		}
		if err := s.writeCSV(f, system); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.Path, err)
		}
		files = append(files, f)
	}
	app := File{Path: filepath.Join(dir, "app.ndjson")}
	if err := s.writeNDJSON(app.Path, "app"); err != nil {
		return nil, fmt.Errorf("write %s: %w", app.Path, err)
	}
	return append(files, app), nil
}

// File is one export and what its import must be told.
type File struct {
	Path         string
	DecimalComma bool
	Timezone     string
}

func (s *Shop) writeCSV(file File, system string) error {
	f, err := os.Create(file.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	zone := time.UTC
	if file.DecimalComma {
		w.Comma = ';'
		if zone, err = time.LoadLocation(file.Timezone); err != nil {
			return err
		}
	}
	w.Write([]string{"customer", "time", "event", "channel", "category", "campaign", "store", "value", "score"})
	for _, e := range s.rows {
		if e.system != system {
			continue
		}
		value, score := "", ""
		if e.value > 0 {
			value = strconv.FormatFloat(e.value, 'f', 2, 64)
			if file.DecimalComma {
				value = value[:len(value)-3] + "," + value[len(value)-2:]
			}
		}
		if e.score > 0 {
			score = strconv.Itoa(e.score)
		}
		w.Write([]string{e.customer, e.time.In(zone).Format(time.DateTime), e.event, e.channel, e.category, e.campaign, e.store, value, score})
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return err
	}
	return f.Close()
}

func (s *Shop) writeNDJSON(path, system string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, e := range s.rows {
		if e.system != system {
			continue
		}
		err := enc.Encode(struct {
			Customer string    `json:"customer"`
			Time     time.Time `json:"time"`
			Event    string    `json:"event"`
			Channel  string    `json:"channel"`
			Category string    `json:"category,omitempty"`
			Value    float64   `json:"value,omitempty"`
		}{e.customer, e.time, e.event, e.channel, e.category, e.value})
		if err != nil {
			return err
		}
	}
	return f.Close()
}
