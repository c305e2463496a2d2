package storage

import (
	"path"
	"testing"
	"time"

	"wend/internal/trust"
	"wend/storage/vfs"
)

// scrubbed opens a store of three segments whose uptime the test sets.
func scrubbed(t *testing.T) (s *Store, up *time.Duration, mem *vfs.Mem, files []string) {
	mem, files = runs(t, 3)
	up = new(time.Duration)
	s, err := Open("store", Options{FS: mem, Uptime: func() time.Duration { return *up }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(s) })
	return s, up, mem, files
}

// Damage that no query would meet for long is met by the weekly reading: any
// byte of any segment, and nothing else is set aside.
func TestScrub(t *testing.T) {
	found, tried := 0, 0
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { b[headerSize+5] ^= 1; return b },
		func(b []byte) []byte { b[len(b)/2] ^= 0x80; return b },
		func(b []byte) []byte { b[len(b)-1]++; return b },
		func(b []byte) []byte { return b[:len(b)-1] },
	} {
		for i := range 3 {
			s, up, mem, files := scrubbed(t)
			sound, err := vfs.ReadFile(mem, files[i])
			if err != nil {
				t.Fatal(err)
			}
			tried++
			inPlace(t, mem, files[i], damage(sound))
			for ; *up < 2*scrubAfter; *up += time.Second {
				if _, err := s.ScrubStep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			missing := s.Summary().Missing
			if len(missing) != 1 || missing[0].Segment != path.Base(files[i]) || missing[0].Rows != 1 {
				t.Errorf("segment %d is damaged, and missing is %+v", i, missing)
				continue
			}
			found++
		}
	}
	trust.Report(t, "P5", "damaged segments that no query reads", tried, "found by the weekly reading", found)
}

// inPlace changes a file in its place, for those who have it open.
func inPlace(t *testing.T, mem *vfs.Mem, file string, data []byte) {
	t.Helper()
	f, err := mem.OpenAppend(file)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Every segment is read once a week, and the reading pauses: of any time that
// passes it takes a twentieth.
func TestScrubIsSlow(t *testing.T) {
	s, up, _, _ := scrubbed(t)
	const takes = time.Hour
	s.opt.Uptime = func() time.Duration { *up += takes; return *up } // asked for before and after
	var busy time.Duration
	reads := 0
	for *up < 3*scrubEvery {
		worked, err := s.ScrubStep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if worked {
			reads++
			busy += takes
		}
		if busy > *up/scrubShare+takes {
			t.Fatalf("after %v it has been reading for %v", *up, busy)
		}
	}
	if reads != 9 {
		t.Errorf("three segments were read %d times in three weeks, expected 9", reads)
	}
}
