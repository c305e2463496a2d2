package ingest

import (
	"fmt"
	"strings"
	"testing"

	"wend/event"

	"github.com/google/go-cmp/cmp"
)

func TestTypes(t *testing.T) {
	// One column each: what its values make of it.
	f := func(want event.Type, values ...string) {
		t.Helper()
		r, _ := readAll(t, Options{}, write(t, "a.csv", "customer,time,event,x\nann,1,e,"+strings.Join(values, "\nann,1,e,")+"\n"))
		if got := r.Mappings()[0].Properties[0].Type; got != want || r.Stats().Rejected != 0 {
			t.Errorf("%q is a column of %s with %d rejected, want %s and none", values, got, r.Stats().Rejected, want)
		}
	}
	f(event.None, "", "")
	f(event.IntegerType, "0", "-12", "", "123456789012345678")
	f(event.StringType, "1234567890123456789") // 19 digits: an identifier
	f(event.StringType, "1", "01234")          // a postcode
	f(event.StringType, "+5")
	f(event.FloatType, "1", "2.50", ".5", "3.", "1e-7", "-0")
	f(event.StringType, "1.5", "NaN")
	f(event.StringType, "1.5", "Inf")
	f(event.StringType, "1e999")
	f(event.StringType, "0x10")
	f(event.BooleanType, "true", "FALSE", "False")
	f(event.StringType, "true", "1")
	f(event.TimeType, "2025-03-01", "2025-03-01T10:00:00+01:00", "01.03.2025 10:00")
	f(event.StringType, "2025-03-01", "2025-13-01")
	f(event.StringType, "2025-03-01", "20250301")
}

func TestTypesToldAndKnown(t *testing.T) {
	const file = "customer,time,event,zip,n\nann,1,e,01234,007\nbob,2,e,5,+8\n"
	reads(t, Options{Types: map[string]event.Type{"zip": event.StringType, "n": event.IntegerType}}, "a.csv", file, `
ann 1970-01-01T00:00:01Z e n=integer:7 zip=string:01234
bob 1970-01-01T00:00:02Z e n=integer:8 zip=string:5
`)
	reads(t, Options{Types: map[string]event.Type{"n": event.TimeType, "zip": event.FloatType}}, "a.csv", file+"cid,3,e,x,9\ndan,4,e,1e3,1740823200\n", `
ann 1970-01-01T00:00:01Z e n=time:1970-01-01T00:00:07Z zip=float:1234
dan 1970-01-01T00:00:04Z e n=time:2025-03-01T10:00:00Z zip=float:1000
! a.csv:3: n: expected a time, got "+8"
! a.csv:4: zip: expected a float, got "x"
`)
	known := map[string]event.Type{"i": event.IntegerType, "f": event.FloatType, "s": event.StringType, "b": event.BooleanType, "t": event.TimeType}
	reads(t, Options{Known: known}, "a.csv", "customer,time,event,i,f,s,b,t\nann,1,e,2.5,3,4,true,2025-03-01\nbob,2,e,x,1,1,true,2025-03-01\nbob,3,e,1,y,1,true,2025-03-01\nbob,4,e,1,1,1,yes,2025-03-01\nbob,5,e,1,1,1,true,noon\n", `
ann 1970-01-01T00:00:01Z e b=boolean:true f=float:3 i=float:2.5 s=string:4 t=time:2025-03-01T00:00:00Z
! a.csv:3: i: expected a float, got "x"
! a.csv:4: f: expected a float, got "y"
! a.csv:5: b: expected a boolean, got "yes"
! a.csv:6: t: expected a time, got "noon"
`)
}

func TestLaterFilesAreHeldToTypes(t *testing.T) {
	r, batches := readAll(t, Options{},
		write(t, "1.csv", "customer,time,event,x,y\nann,1,e,5,5\n"),
		write(t, "2.csv", "customer,time,event,x,y\nann,2,e,5.5,6\nann,3,e,5,six\n"),
		write(t, "3.csv", "customer,time,event,x\nann,4,e,7\n"))
	want := `ann 1970-01-01T00:00:01Z e x=integer:5 y=integer:5
ann 1970-01-01T00:00:02Z e x=float:5.5 y=integer:6
ann 1970-01-01T00:00:04Z e x=float:7
! 2.csv:3: y: expected an integer, got "six"
`
	if diff := cmp.Diff(want, transcript(r, batches)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(r.Mappings()) != 3 || r.Mappings()[1].Properties[0].Type != event.FloatType {
		t.Errorf("the second file's mapping is %s", r.Mappings()[1])
	}
}

func TestNumberColumnTurnsIntoTextAfterAMillionRows(t *testing.T) {
	const n = 1_000_100
	content := manyRows(n, func(i int) string {
		if i == n-50 {
			return "n/a"
		}
		return fmt.Sprint(i)
	})
	for _, held := range []int{heldBytesMax, 1 << 20} { // kept in memory, and read a second time
		r, batches := readAll(t, Options{heldBytes: held, pieceBytes: 1 << 18}, write(t, "a.csv", content))
		if s := r.Stats(); s.Events != n || s.Rejected != 0 {
			t.Fatalf("%d events, %d rejected", s.Events, s.Rejected)
		}
		row := 0
		for _, b := range batches {
			if b.Columns[0].Type != event.StringType || b.Len() > batchRowsMax {
				t.Fatalf("a batch of %d rows whose column is %s", b.Len(), b.Columns[0].Type)
			}
			for i := range b.Len() {
				if want := fmt.Sprint(row); b.Columns[0].Texts[i] != want && row != n-50 || int64(b.Time[i]) != int64(row)*1e6 {
					t.Fatalf("row %d is %v", row, b.At(i))
				}
				row++
			}
		}
	}
}

func TestStreamHoldsTypesOfItsFirstRows(t *testing.T) {
	for _, size := range []int{pieceBytes, 1 << 16} {
		r, batches := stream(t, Options{pieceBytes: size, heldBytes: heldBytesMax}, manyRows(150_000, func(i int) string {
			switch i {
			case 99_999:
				return "12"
			case 100_000:
				return "misfit"
			case 120_000:
				return "2.5"
			}
			return fmt.Sprint(i)
		}))
		if s := r.Stats(); s.Rows != 150_000 || s.Rejected != 1 {
			t.Fatalf("%d rows, %d rejected", s.Rows, s.Rejected)
		}
		if got, want := r.Rejects()[0].String(), `standard input:100002: x: expected an integer, got "misfit"`; got != want {
			t.Errorf("the reject is %s, want %s", got, want)
		}
		widened, row := false, 0
		for _, b := range batches {
			c := &b.Columns[0]
			if widened && c.Type != event.FloatType {
				t.Fatalf("row %d: integers come after floats", row)
			}
			widened = c.Type == event.FloatType
			row += b.Len()
		}
		if !widened {
			t.Error("2.5 did not widen the column")
		}
	}
	// What the sample does show decides: text within it makes a text column.
	r, _ := stream(t, Options{}, manyRows(100_100, func(i int) string {
		if i == 99_999 {
			return "x"
		}
		return "1"
	}))
	if p := r.Mappings()[0].Properties[0]; p.Type != event.StringType {
		t.Errorf("the column is %s", p.Type)
	}
}

func TestStreamPropertyThatComesLate(t *testing.T) {
	var b strings.Builder
	for i := range 140_000 {
		fmt.Fprintf(&b, `{"customer":"u","time":%d,"event":"e"`, i)
		switch i {
		case 110_000:
			b.WriteString(`,"late":1`)
		case 125_000:
			b.WriteString(`,"late":1.5`)
		case 139_000:
			b.WriteString(`,"late":"text"`)
		}
		b.WriteString("}\n")
	}
	r, batches := stream(t, Options{pieceBytes: 1 << 16, heldBytes: heldBytesMax}, b.String())
	if s := r.Stats(); s.Events != 139_999 || s.Rejected != 1 {
		t.Fatalf("%d events, %d rejected", s.Events, s.Rejected)
	}
	if got, want := r.Rejects()[0].String(), `standard input:139001: late: expected a float, got "text"`; got != want {
		t.Errorf("the reject is %s, want %s", got, want)
	}
	var values []string
	for _, batch := range batches {
		for i := range batch.Len() {
			for _, p := range batch.At(i).Props {
				values = append(values, p.Value.Type().String()+" "+p.Value.String())
			}
		}
	}
	if diff := cmp.Diff([]string{"integer 1", "float 1.5"}, values); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
