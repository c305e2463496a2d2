package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// OS is the operating system's files. Directories are made for their owner
// only (0700), files too (0600).
type OS struct {
	// AllowNetwork lets Lock work on network file systems, where another
	// machine may not see it and a sync may not reach the disk.
	AllowNetwork bool
}

var (
	_ FS       = OS{}
	_ Resolver = OS{}
)

// Create implements FS.
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open implements FS.
func (OS) Open(name string) (File, error) { return open(name, os.O_RDONLY) }

// OpenAppend implements FS.
func (OS) OpenAppend(name string) (File, error) { return open(name, os.O_RDWR|os.O_APPEND) }

// open opens a file, and nothing else that may have its name: a symbolic link
// could lead anywhere, and who opens a pipe waits for whoever is at its other end.
func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if info, e := os.Lstat(name); e == nil && !info.Mode().IsRegular() {
			err = noFile(name, info.Mode())
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = noFile(name, info.Mode())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

func noFile(name string, mode fs.FileMode) error {
	what := "a device, a pipe or a socket"
	switch {
	case mode&fs.ModeSymlink != 0:
		what = "a symbolic link, which is not followed"
	case mode.IsDir():
		what = "a folder"
	}
	return fmt.Errorf("%w: %s is %s", ErrCorrupt, name, what)
}

// Rename implements FS.
func (OS) Rename(old, new string) error { return os.Rename(old, new) }

// Link implements FS.
func (OS) Link(old, new string) error { return os.Link(old, new) }

// Remove implements FS.
func (OS) Remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// MkdirAll implements FS.
func (OS) MkdirAll(name string) error { return os.MkdirAll(name, 0o700) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}

// Resolve implements Resolver.
func (OS) Resolve(name string) string {
	name, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	for part, rest := name, ""; ; part, rest = filepath.Dir(part), filepath.Join(filepath.Base(part), rest) {
		if found, err := filepath.EvalSymlinks(part); err == nil {
			return filepath.Join(found, rest)
		}
		if part == filepath.Dir(part) {
			return name
		}
	}
}

// Lock implements FS with flock, which a crashed owner gives back by itself
// and which, unlike fcntl's locks, survives another descriptor's close. The
// file's text, for people and error messages, says who holds it.
func (o OS) Lock(name string) (io.Closer, error) {
	var place unix.Statfs_t
	if err := unix.Statfs(path.Dir(name), &place); err == nil && !o.AllowNetwork {
		if kind := networkFS(int64(place.Type)); kind != "" {
			return nil, &NetworkError{Name: name, Kind: kind}
		}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		owner := readOwner(f)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &LockedError{Name: name, Owner: string(owner)}
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	owner := fmt.Sprintf("pid %d on %s since %s", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if err := f.Truncate(0); err == nil {
		// The lock holds without its owner's name: a full disk must not
		// keep a store from opening.
		_, _ = f.WriteAt([]byte(owner), 0)
	}
	return f, nil
}

// readOwner reads who holds a lock. An owner writes its name when it has the
// lock, so for a moment there is none, and for longer where the disk is busy;
// then nobody is named.
func readOwner(f *os.File) []byte {
	owner := make([]byte, 256)
	for range 100 {
		if n, _ := f.ReadAt(owner, 0); n > 0 {
			return owner[:n]
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// networkFS names a file system that several machines share, by the magic
// number of statfs(2); "" is a local one.
func networkFS(magic int64) string {
	switch uint32(magic) {
	case 0x6969:
		return "NFS"
	case 0x517b, 0xff534d42, 0xfe534d42:
		return "SMB"
	case 0x01021997:
		return "9P"
	case 0x00c36400:
		return "Ceph"
	case 0x5346414f, 0x6b414653:
		return "AFS"
	case 0x73757245:
		return "Coda"
	case 0x0bd00bd0:
		return "Lustre"
	}
	return ""
}

// Usage implements FS.
func (OS) Usage(name string) (free, total uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(name, &s); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: path.Clean(name), Err: err}
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}

// osFile writes all of p or reports why not: os.File loops over short writes.
type osFile struct{ *os.File }

// Reserve implements Reserver. Where the file system cannot reserve room
// otherwise, zeros are written.
func (f osFile) Reserve(size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		_, err = io.Copy(f.File, io.LimitReader(zeros{}, size))
	}
	if err != nil {
		return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

// zeros reads as zeros for ever.
type zeros struct{}

// Read fills p with zeros.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Size implements File.
func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
