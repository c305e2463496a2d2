package client_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"wend/access"
	"wend/client"
	"wend/engine"
	"wend/event"
	"wend/query"
	"wend/server"
	"wend/storage"
	"wend/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a store in memory and a client of a server of it.
func open(t *testing.T, events ...event.Event) (*engine.DB, *client.Client) {
	t.Helper()
	db, err := engine.Open("shop", engine.Options{Storage: storage.Options{FS: vfs.NewMem()}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(server.New(db, server.Options{}).Handler())
	t.Cleanup(func() {
		srv.Close()
		db.Close()
	})
	c, err := client.New(srv.URL, client.Options{HTTP: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if len(events) > 0 {
		if _, err := db.Append(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	return db, c
}

func at(hour int) event.Time {
	return event.At(time.Date(2025, 3, 1, 0, 0, 0, 123456000, time.UTC)).Add(event.Duration(hour) * event.Hour)
}

// journeys have every type of property, names beyond ASCII, and numbers that
// not every reader of JSON keeps.
func journeys() []event.Event {
	props := []event.Prop{
		{Name: "big", Value: event.Integer(1<<62 + 1)},
		{Name: "price", Value: event.Float(0.1)},
		{Name: "paid", Value: event.Boolean(true)},
		{Name: "text", Value: event.String("a \"quoted\"\nline <&> \u2028 €")},
	}
	return []event.Event{
		{Customer: "zoë", Time: at(0), Name: "view", Channel: "web", Props: props},
		{Customer: "zoë", Time: at(1), Name: "cart", Channel: "web", ID: "c1"},
		{Customer: "zoë", Time: at(2), Name: "purchase", Channel: "store", Props: props[1:2]},
		{Customer: "b", Time: at(3), Name: "view"},
		{Customer: "b", Time: at(5), Name: "cart", Channel: "app"},
		{Customer: "c", Time: at(50), Name: "view", Channel: "app"},
	}
}

func TestAnswersAreThoseOfTheStore(t *testing.T) {
	db, c := open(t, journeys()...)
	types := map[engine.ColumnType]bool{}
	for _, text := range []string{
		"funnel view -> cart -> purchase within 1d by channel",
		"paths from view within 1d",
		"times view -> purchase within 1d",
		"dropoff view -> cart -> purchase within 1d top 1",
		"journey of 'zoë'",
		"journey of 'nobody'",
		"customers among did view of big, price, paid, text",
		"measure events, sum(price), min(time), max(big) by paid = true",
		"show events",
		"show status",
		"measure events during since 2025-03-02",
		"explain funnel view -> cart",
	} {
		want, err := db.Query(t.Context(), text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := c.Query(t.Context(), text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		ignore := cmp.Options{
			cmpopts.IgnoreUnexported(engine.Result{}),
			cmpopts.IgnoreFields(engine.Meta{}, "ElapsedMS", "Cached", "BytesRead"), cmpopts.EquateEmpty(), cmp.AllowUnexported(event.Value{}),
		}
		if diff := cmp.Diff(want, got, ignore); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
		for i, col := range got.Columns {
			for _, row := range got.Rows {
				if row[i] != nil {
					types[col.Type] = true
				}
			}
		}
	}
	for _, want := range []engine.ColumnType{engine.Integer, engine.Number, engine.String, engine.Boolean, engine.Time, engine.Duration, engine.Share, engine.List, engine.Object} {
		if !types[want] {
			t.Errorf("no answer had a value of type %s", want)
		}
	}
}

func TestSettingsOfAQueryGoAlong(t *testing.T) {
	db, c := open(t, journeys()...)
	values := map[string]event.Value{"i": event.Integer(1<<62 + 1), "f": event.Float(0.1), "b": event.Boolean(true),
		"s": event.String("a \"quoted\"\nline <&> \u2028 €"), "n": event.Null}
	res, err := c.Query(t.Context(), "measure events[big = $i and price = $f and paid = $b and text = $s and coalesce(price, $n) > 0]", engine.WithParams(values))
	if err != nil || res.Rows[0][0] != int64(1) {
		t.Errorf("%v, %v", res, err)
	}
	for _, f := range []float64{2, 1e6, 1e18, 1e20, 1e300, -0.1, 5e-324} {
		whole := engine.WithParams(map[string]event.Value{"f": event.Float(f)})
		const text = "measure max(coalesce(price * 0, $f))"
		want, err := db.Query(t.Context(), text, whole)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Query(t.Context(), text, whole)
		if err != nil || !cmp.Equal(got.Columns, want.Columns) || !cmp.Equal(got.Rows, want.Rows) {
			t.Errorf("%g: %v, %v, want %v", f, got, err, want)
		}
	}
	for value, want := range map[event.Value]string{
		event.Instant(at(0)):     "$x is a time, which a server would take for a text; write it into the query, without quotes: 2025-03-01T00:00:00.123456Z",
		event.Float(math.Inf(1)): "$x is not a finite number",
		event.String("a\xff"):    `$x is "a\xff", which is not valid UTF-8`,
	} {
		_, err := c.Query(t.Context(), "measure events[$x = $x]", engine.WithParams(map[string]event.Value{"x": value}))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v: %v", value, err)
		}
	}
	if _, err := c.Query(t.Context(), "funnel view -> basket"); err == nil {
		t.Error("an unknown event is no mistake")
	}
	if res, err = c.Query(t.Context(), "funnel view -> basket", engine.WithLenient()); err != nil || len(res.Meta.Warnings) == 0 {
		t.Errorf("leniently: %v, %v", res, err)
	}
	for _, text := range []string{"define stage looking as view", "drop stage looking", "show events; define stage looking as view"} {
		if _, err := c.Query(t.Context(), text, engine.ReadOnlyQuery()); err == nil {
			t.Errorf("%s: runs read-only", text)
		}
	}
	if _, definitions, err := c.Schema(t.Context()); err != nil || len(definitions) > 0 {
		t.Errorf("read-only statements defined %v, %v", definitions, err)
	}
	if _, err := c.Query(t.Context(), "define stage looking as view", engine.ReadOnlyQuery()); !errors.Is(err, storage.ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
	for range 2 {
		res, err := c.Query(t.Context(), "show events", engine.ReadOnlyQuery(), engine.NoCache())
		if err != nil || res.Meta.Cached {
			t.Errorf("afresh: %v, %v", res, err)
		}
	}
	if _, err := c.Query(t.Context(), "show events", engine.WithLimits(engine.RunOptions{Rows: 1})); err == nil {
		t.Error("a limit that cannot be sent is forgotten")
	}
	var sent string
	recorder := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		sent = r.Header.Get("Cache-Control") + string(body)
		return nil, io.ErrUnexpectedEOF
	})}
	c, _ = client.New("http://127.0.0.1:1", client.Options{HTTP: recorder})
	_, _ = c.Query(t.Context(), "show events", engine.NoCache(), engine.WithLimits(engine.RunOptions{Time: 2 * time.Second}))
	if want := `no-cache{"query":"show events","timeout_ms":2000}`; sent != want {
		t.Errorf("sent %s, want %s", sent, want)
	}
}

func TestMistakesKeepTheirPlaces(t *testing.T) {
	db, c := open(t, journeys()...)
	for _, text := range []string{"funnel vew -> purchas within 1d", "measure events[\n  text = 'ü€' and prise > 1]", "funnel view ->", "journey of 'zoë"} {
		_, local := db.Query(t.Context(), text)
		_, remote := c.Query(t.Context(), text)
		var want, got query.Errors
		if !errors.As(local, &want) || !errors.As(remote, &got) {
			t.Fatalf("%s: %v, %v", text, local, remote)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
		for i := range got {
			if got[i].Pretty() != want[i].Pretty() {
				t.Errorf("%s is shown as\n%s", text, got[i].Pretty())
			}
		}
	}
}

func TestLinksCompletionsSchema(t *testing.T) {
	db, c := open(t, journeys()...)
	if err := c.Link(t.Context(), "anon/ü", "zoë"); err != nil {
		t.Fatal(err)
	}
	if err := c.LinkAll(t.Context(), []storage.Link{{From: "x", To: "b"}, {From: "y", To: "b"}}); err != nil {
		t.Fatal(err)
	}
	if links, err := c.Links(t.Context()); err != nil || !cmp.Equal(links, db.Links()) || len(links) != 3 {
		t.Errorf("%v, %v", links, err)
	}
	if err := c.Unlink(t.Context(), "anon/ü"); err != nil || len(db.Links()) != 2 {
		t.Errorf("unlink: %v", err)
	}
	var refused *client.Error
	if err := c.Link(t.Context(), "b", "x"); !errors.As(err, &refused) || !refused.Mistaken() || refused.Code != "bad_link" {
		t.Errorf("a circle: %v", err)
	}
	items, from := c.Complete(t.Context(), "funnel vi", 9)
	want, wantFrom := db.Complete(t.Context(), "funnel vi", 9)
	if !cmp.Equal(items, want) || from != wantFrom || len(items) == 0 {
		t.Errorf("%v from %d", items, from)
	}
	if _, err := db.Query(t.Context(), "define stage looking as view"); err != nil {
		t.Fatal(err)
	}
	schema, definitions, err := c.Schema(t.Context())
	wantSchema, wantDefinitions, _ := db.Schema()
	wantSchema = &event.Schema{Events: wantSchema.Events, Channels: append([]event.Name{{}}, wantSchema.Channels[1:]...), Properties: wantSchema.Properties}
	if err != nil || !cmp.Equal(schema, wantSchema) || !cmp.Equal(definitions, wantDefinitions) {
		t.Errorf("%v, %v, %v", schema, definitions, err)
	}
	if st, err := c.Status(t.Context()); err != nil || st.Events != 6 || st.Customers != 3 {
		t.Errorf("%+v, %v", st, err)
	}
}

// A batch keeps the types of its properties, however many others there are and
// however long their names.
func TestAppendKeepsTypes(t *testing.T) {
	db, c := open(t)
	e := journeys()[0]
	e.Props = append(e.Props, event.Prop{Name: "due", Value: event.Instant(at(9))}, event.Prop{Name: "whole", Value: event.Float(2)},
		event.Prop{Name: "large", Value: event.Float(1e20)}, event.Prop{Name: "zero", Value: event.Float(math.Copysign(0, -1))})
	for i := range 220 {
		e.Props = append(e.Props, event.Prop{Name: fmt.Sprintf("заказ.доставка.адрес.%03d", i), Value: []event.Value{event.String("x"), event.Float(3)}[i%2]})
	}
	ack, err := c.Append(t.Context(), []event.Event{e}, "")
	if err != nil || ack.Accepted != 1 || ack.LSN == 0 {
		t.Fatalf("%+v, %v", ack, err)
	}
	res, err := db.Query(t.Context(), "show properties")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range res.Rows {
		if want := e.Prop(row[0].(string)).Type().String(); row[1] != want {
			t.Errorf("%v is %v, want %s", row[0], row[1], want)
		}
	}
	if len(res.Rows) != len(e.Props) {
		t.Errorf("%v", res.Rows)
	}
	for i := range e.Props {
		e.Props[i].Value = event.Instant(at(9))
	}
	if _, err := c.Append(t.Context(), []event.Event{e}, ""); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("names of times that are longer than a server's headers: %v", err)
	}
}

// What a store rejects is rejected on the way to it, too, and nothing else in its place.
func TestAppendRejectsWhatAStoreDoes(t *testing.T) {
	db, c := open(t)
	sound := event.Event{Customer: "a", Time: at(0), Name: "view"}
	with := func(name string, v event.Value) event.Event {
		e := sound
		e.Props = []event.Prop{{Name: name, Value: v}}
		return e
	}
	late := sound
	late.Time = event.MaxTime + 1
	events := []event.Event{
		{Customer: "a\xff", Time: at(0), Name: "view"}, sound, late, {Customer: "a", Time: at(0), Name: "view\xfe"},
		{Customer: "a", Time: at(0), Name: "view", Channel: "\xff"}, {Customer: "a", Time: at(0), Name: "view", ID: "\xff"},
		with("note", event.String("\xff")), with("n\xff", event.Boolean(true)), with("n", event.Float(math.Inf(1))), with("n", event.Float(1.5)),
		with("\xff", event.Null),
	}
	want, err := db.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	_, other := open(t)
	for name, to := range map[string]*client.Client{"the same store": c, "an empty one": other} {
		got, err := to.Append(t.Context(), events, "")
		if err != nil || got.Accepted+got.Duplicates != want.Accepted+want.Duplicates || len(got.Rejected) != len(want.Rejected) {
			t.Fatalf("%s: %+v, %v, want %+v", name, got, err, want)
		}
		for i, r := range want.Rejected {
			if got.Rejected[i].Index != r.Index || r.Index != 2 && got.Rejected[i].Reason != r.Reason {
				t.Errorf("%s: %+v, want %+v", name, got.Rejected[i], r)
			}
		}
	}
	if ack, err := c.Append(t.Context(), events[:1], "t"); err != nil || len(ack.Rejected) != 1 {
		t.Errorf("an event that cannot be sent, alone: %+v, %v", ack, err)
	}
}

// A batch with a token is sent again until the server takes it, whatever the
// server's failure; one without a token, or one that is at fault itself, is not.
func TestAppendTriesAgain(t *testing.T) {
	const stored = `{"accepted": 1, "duplicates": 0, "rejected": [], "durability": "sync", "lsn": 7}`
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, code) }
	}
	cut := func(status int) http.HandlerFunc { // in the middle of the answer
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(stored)))
			w.WriteHeader(status)
			io.WriteString(w, stored[:len(stored)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	late := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server does not notice that the client is gone
		<-r.Context().Done()
	}
	f := func(token string, wantCalls int64, wantCode int, failures ...http.HandlerFunc) {
		t.Helper()
		var calls atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("X-Batch-Token"); got != token {
				t.Errorf("sent with the token %q", got)
			}
			if n := int(calls.Add(1)); n <= len(failures) {
				failures[n-1](w, r)
				return
			}
			io.WriteString(w, stored)
		}))
		defer srv.Close()
		c, err := client.New(srv.URL, client.Options{HTTP: srv.Client(), Timeout: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ack, err := c.Append(t.Context(), journeys()[:1], token)
		var refused *client.Error
		if errors.As(err, &refused) != (wantCode != 0) || wantCode != 0 && refused.Status != wantCode {
			t.Errorf("%v, want status %d", err, wantCode)
		}
		if (err == nil) != (ack.LSN == 7) || calls.Load() != wantCalls {
			t.Errorf("%+v, %v after %d calls, want %d", ack, err, calls.Load(), wantCalls)
		}
	}
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	f("t1", 5, 0, status(503, `{"error": {"code": "busy", "message": "too many"}}`), abort, cut(200), late)
	f("t2", 6, 0, status(500, "a proxy's page"), status(502, ""), status(504, ""), status(507, `{"error": {"code": "disk_full", "message": "full"}}`), cut(500))
	f("t3", 3, 0, status(429, ""), status(408, ""))
	f("t4", 1, 400, status(400, `{"error": {"code": "bad_events", "message": "no"}}`))
	f("t5", 2, 401, status(500, ""), status(401, ""))
	f("", 1, 503, status(503, ""))
	f("", 1, 0, abort)
}

// A batch is not parted: one that no server takes is not sent, and the error says
// what is too much. All others are taken, whatever they compress to.
func TestAppendOfLargeBatches(t *testing.T) {
	_, c := open(t)
	random := rand.NewChaCha8([32]byte{})
	noise := func(n int) string {
		b := make([]byte, n)
		random.Read(b)
		return base64.StdEncoding.EncodeToString(b)[:n]
	}
	same := strings.Repeat("same ", 12<<10)
	note := func(text func(i int) string) func(i int) event.Prop {
		return func(i int) event.Prop { return event.Prop{Name: "note", Value: event.String(text(i))} }
	}
	name := func(i int) event.Prop { return event.Prop{Name: fmt.Sprint("p", i%1000), Value: event.Integer(1)} }
	for _, batch := range []struct {
		what   string
		events int
		prop   func(i int) event.Prop
		want   string // of the error; "" where there is none
	}{
		{"events", 50_001, note(func(int) string { return "" }), "it has 50001 events, the limit is 50000"},
		{"values", 6_001, name, "6001 events with 1000 different properties are 6001000 values, absent ones counted, the limit is 6000000"},
		{"text", 1_100, note(func(int) string { return same }), "its text has more than 67108864 bytes"},
		{"noise", 400, note(func(int) string { return noise(60 << 10) }), "bytes compressed, the limit is 16777216"},
		{"many events", 50_000, note(func(i int) string { return strconv.Itoa(i) }), ""},
		{"many values", 6_000, name, ""},
		{"as good as one event", 200, note(func(int) string { return same }), ""},
		{"much of one event", 400, note(func(int) string { return same }), "and compresses to less than a hundredth, the limit of such is 16777216"},
		{"noise that fits", 100, note(func(int) string { return noise(60 << 10) }), ""},
	} {
		t.Run(batch.what, func(t *testing.T) {
			events := make([]event.Event, batch.events)
			for i := range events {
				events[i] = event.Event{Customer: batch.what, Time: at(9), Name: "view", ID: strconv.Itoa(i), Props: []event.Prop{batch.prop(i)}}
			}
			ack, err := c.Append(t.Context(), events, "t "+batch.what)
			switch {
			case batch.want == "":
				if err != nil || ack.Accepted != int64(len(events)) {
					t.Errorf("%d events: %d accepted, %d rejected, %v", len(events), ack.Accepted, len(ack.Rejected), err)
				}
			case !errors.Is(err, client.ErrTooLarge) || !strings.Contains(err.Error(), batch.want) || !strings.HasSuffix(err.Error(), "send several batches, each with a token of its own"):
				t.Errorf("%d events: %v", len(events), err)
			}
		})
	}
}

// How often is bounded; a server that says when is asked no earlier.
func TestAppendGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		asked := "20"
		broken := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			at = append(at, time.Now())
			if len(at) == 1 {
				return &http.Response{StatusCode: 503, Status: "503 busy", Header: http.Header{"Retry-After": {asked}}, Body: http.NoBody}, nil
			}
			return nil, io.ErrUnexpectedEOF
		})}
		c, err := client.New("http://127.0.0.1:1", client.Options{HTTP: broken})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Append(t.Context(), journeys()[:1], "t1"); !errors.Is(err, io.ErrUnexpectedEOF) || len(at) != 12 {
			t.Errorf("%v after %d attempts", err, len(at))
		}
		if first, all := at[1].Sub(at[0]), at[len(at)-1].Sub(at[0]); first < 20*time.Second || all > time.Minute {
			t.Errorf("the second attempt came after %s, the last after %s", first, all)
		}
		at, asked = nil, "3600"
		if _, err := c.Append(t.Context(), journeys()[:1], "t3"); !errors.Is(err, io.ErrUnexpectedEOF) || at[1].Sub(at[0]) != time.Minute {
			t.Errorf("asked to wait for an hour: %v, %s", err, at[1].Sub(at[0]))
		}
		at = at[1:]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Append(ctx, journeys()[:1], "t2"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the end of its context: %v", err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestServersThatCannotBeAsked(t *testing.T) {
	for _, address := range []string{"", "localhost:7171", "ftp://x", "http://", "::"} {
		if _, err := client.New(address, client.Options{}); err == nil {
			t.Errorf("%q is taken for an address", address)
		}
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	token := access.NewToken()
	c, _ := client.New(srv.URL, client.Options{HTTP: srv.Client(), Token: token})
	if _, err := c.Query(t.Context(), "show events"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("another kind of server: %v", err)
	}
	srv.Close()
	_, err := c.Query(t.Context(), "show events")
	if err == nil || !strings.Contains(err.Error(), "is the server running?") || strings.Contains(err.Error(), token.Reveal()) {
		t.Errorf("no server: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Query(ctx, "show events"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
}

func TestErase(t *testing.T) {
	db, c := open(t, journeys()...)
	r, err := c.Erase(t.Context(), "zoë", storage.EraseOptions{After: storage.Suppress})
	if err != nil || r.ID == "" || r.After != "suppress" {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := db.WaitErased(t.Context(), r.ID); err != nil { // the server's store has no background here
		t.Fatal(err)
	}
	if done, err := c.WaitErased(t.Context(), r.ID); err != nil || done.State != "done" || done.Finished == nil {
		t.Errorf("%+v, %v", done, err)
	}
	ack, err := c.Append(t.Context(), journeys()[:1], "")
	if err != nil || ack.Suppressed != 1 || ack.Accepted != 0 {
		t.Errorf("a later event: %+v, %v", ack, err)
	}
	var refused *client.Error
	if _, err := c.Receipt(t.Context(), "none"); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("an unknown erasure: %v", err)
	}
}
