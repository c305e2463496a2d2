package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
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

// Whether a file system is shared between machines is told by its magic.
func TestNetworkFileSystems(t *testing.T) {
	for magic, want := range map[int64]string{0x6969: "NFS", 0xff534d42: "SMB", 0xfe534d42: "SMB", -0x00acb2be: "SMB", 0xef53: "", 0x58465342: "", 0x01021994: "", 0x9123683e: ""} {
		if got := networkFS(magic); got != want {
			t.Errorf("magic %x: %q, want %q", magic, got, want)
		}
	}
}
