package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"
)

// Both file systems do the same.
func TestFileSystems(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) (FS, string){
		"Mem": func(*testing.T) (FS, string) { return NewMem(), "dir" },
		"OS":  func(t *testing.T) (FS, string) { return OS{}, t.TempDir() + "/dir" },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, dir := make(t)
			var got strings.Builder
			note := func(what string, values ...any) {
				for i, v := range values {
					if err, ok := v.(error); ok {
						values[i] = kind(err)
					}
				}
				fmt.Fprintln(&got, append([]any{what}, values...)...)
			}
			p := func(name string) string { return path.Join(dir, name) }
			read := func(name string) string {
				data, err := ReadFile(fsys, p(name))
				if err != nil {
					return kind(err)
				}
				return string(data)
			}

			_, err := fsys.Create(p("a"))
			note("create without a directory", err)
			note("mkdir", fsys.MkdirAll(p("sub")))
			f, err := fsys.Create(p("a"))
			note("create", err)
			_, err = fsys.Create(p("a"))
			note("create again", err)
			n, err := f.Write([]byte("hello "))
			note("write", n, err)
			n, err = f.Write([]byte("world"))
			note("write", n, err, f.Sync())
			buf := [4]byte{}
			n, err = f.ReadAt(buf[:], 9)
			note("read at the end", n, err, string(buf[:n]))
			n, err = f.ReadAt(buf[:], 99)
			note("read past the end", n, err)
			note("truncate", f.Truncate(7))
			n, err = f.Write([]byte("W"))
			size, e := f.Size()
			note("write after it", n, err, size, e, f.Close(), read("a"))
			f, err = fsys.OpenAppend(p("a"))
			note("open to append", err)
			n, err = f.Write([]byte("!"))
			note("append", n, err, f.Close(), read("a"))
			f, err = fsys.Open(p("a"))
			note("open", err)
			_, err = f.Write([]byte("x"))
			note("write to what is open for reading", err != nil)
			_, err = fsys.Open(p("none"))
			note("open what is not there", err)
			note("link", fsys.Link(p("a"), p("b")), fsys.Link(p("a"), p("b")), fsys.Link(p("none"), p("c")), read("b"))
			note("rename", fsys.Rename(p("b"), p("c")), fsys.Rename(p("none"), p("d")), read("b"), read("c"))
			note("remove", fsys.Remove(p("a")), fsys.Remove(p("a")), read("a"), read("c"))
			n, err = f.ReadAt(buf[:], 0)
			note("read what was removed", n, err, string(buf[:]), f.Close())
			names, err := fsys.ReadDir(dir)
			note("list", names, err, fsys.SyncDir(dir), fsys.SyncDir(p("none")))
			_, err = fsys.ReadDir(p("none"))
			note("list what is not there", err)
			lock, err := fsys.Lock(p("LOCK"))
			note("lock", err)
			_, err = fsys.Lock(p("LOCK"))
			var held *LockedError
			note("lock again", errors.As(err, &held) && held.Owner != "")
			note("unlock", lock.Close())
			lock, err = fsys.Lock(p("LOCK"))
			note("lock after that", err, lock.Close())
			free, total, err := fsys.Usage(dir)
			note("usage", free > 0, free <= total, err)

			const want = `create without a directory not there
mkdir <nil>
create <nil>
create again exists
write 6 <nil>
write 5 <nil> <nil>
read at the end 2 end of file ld
read past the end 0 end of file
truncate <nil>
write after it 1 <nil> 8 <nil> <nil> hello wW
open to append <nil>
append 1 <nil> <nil> hello wW!
open <nil>
write to what is open for reading true
open what is not there not there
link <nil> exists not there hello wW!
rename <nil> not there not there hello wW!
remove <nil> <nil> not there hello wW!
read what was removed 4 <nil> hell <nil>
list [c sub] <nil> <nil> not there
list what is not there not there
lock <nil>
lock again true
unlock <nil>
lock after that <nil> <nil>
usage true true <nil>
`
			if got.String() != want {
				t.Errorf("got\n%s", got.String())
			}
		})
	}
}

func kind(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "not there"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	case errors.Is(err, io.EOF):
		return "end of file"
	}
	return err.Error()
}

// scarce is a file system of which few files can be open.
type scarce struct {
	*Mem
	most, open int
}

func (s *scarce) Open(name string) (File, error) {
	if s.open >= s.most {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENFILE}
	}
	s.open++
	f, err := s.Mem.Open(name)
	return &scarceFile{f, s}, err
}

type scarceFile struct {
	File
	of *scarce
}

func (f *scarceFile) Close() error {
	f.of.open--
	return f.File.Close()
}

// A pool reads any number of files and has few of them open: as many as it was
// told, or as many as the system has.
func TestPool(t *testing.T) {
	for _, c := range []struct{ most, system, open int }{{10, 100, 10}, {1000, 40, 20}, {1000, 5, 5}} {
		mem := NewMem()
		system := &scarce{Mem: mem, most: c.system}
		pool := NewPool(system, c.most)
		var files []*PoolFile
		var failed error
		for i := range 60 {
			name := fmt.Sprint("f", i)
			f, err := mem.Create(name)
			if err == nil {
				_, err = f.Write([]byte{byte(i)})
			}
			if err != nil {
				t.Fatal(err)
			}
			file, err := pool.Open(name)
			if err != nil {
				failed = err
				break
			}
			files = append(files, file)
		}
		if c.system < poolLeast {
			if !TooManyOpen(failed) || system.open != c.open {
				t.Errorf("%+v: %d are open: %v", c, system.open, failed)
			}
			continue
		}
		for i, f := range files {
			var b [1]byte
			if n, err := f.ReadAt(b[:], 0); n != 1 || b[0] != byte(i) {
				t.Errorf("%+v: file %d: read %d, %v", c, i, b, err)
			}
			if size, err := f.Size(); size != 1 || err != nil {
				t.Errorf("%+v: file %d: size %d, %v", c, i, size, err)
			}
		}
		if len(files) != 60 || system.open != c.open {
			t.Errorf("%+v: %v, %d files are open", c, failed, system.open)
		}
		held, err := files[0].take() // it is being read
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			pool.Shrink()
		}
		if _, err := held.ReadAt(make([]byte, 1), 0); err != nil || system.open > poolLeast {
			t.Errorf("%+v: %d stay open, and what is being read has %v", c, system.open, err)
		}
		for _, f := range files {
			f.Close()
		}
		files[0].give()
		if system.open != 0 {
			t.Errorf("%+v: %d stay open when all are closed", c, system.open)
		}
	}
}

// Whether a file system is shared between machines is told by its magic.
func TestNetworkFileSystems(t *testing.T) {
	for magic, want := range map[int64]string{0x6969: "NFS", 0xff534d42: "SMB", 0xfe534d42: "SMB", -0x00acb2be: "SMB", 0xef53: "", 0x58465342: "", 0x01021994: "", 0x9123683e: ""} {
		if got := networkFS(magic); got != want {
			t.Errorf("magic %x: %q, want %q", magic, got, want)
		}
	}
}
