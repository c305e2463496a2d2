package trials

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"
)

// disk is a file system of its own in a file, whose power can be cut.
type disk struct {
	t     *testing.T
	kind  string // ext4, xfs
	image string
	dir   string // where it is mounted
}

// newDisk makes one, or skips the test where that is not possible: it takes
// root, loop devices and the tools of the file system.
func newDisk(t *testing.T, kind string) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skip(err)
	}
	base := t.TempDir()
	d := &disk{t: t, kind: kind, image: filepath.Join(base, "image"), dir: filepath.Join(base, "disk")}
	size := int64(64 << 20)
	args := []string{"-q", "-F", "-O", "^metadata_csum_seed", d.image}
	if kind == "xfs" {
		size, args = 320<<20, []string{"-q", "-f", d.image} // the smallest it takes; the file is sparse
	}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Mkdir(d.dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, args...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.%s: %v\n%s", kind, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("no file can be mounted here: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = syscall.Unmount(d.dir, syscall.MNT_DETACH) })
	return d
}

// What is lost when the power is cut.
const (
	journalKept = 1 // file data that was not written; names reach the journal
	allLost     = 2 // everything that was not synced
)

// cut takes the power away: from now on the file system refuses everything,
// and what was not written to the image never will be.
func (d *disk) cut(keep uint32) error {
	const shutdown = 0x8004587d // of ext4 and xfs
	root, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, root.Fd(), shutdown, uintptr(unsafe.Pointer(&keep))); errno != 0 {
		return fmt.Errorf("cut the power of %s: %w", d.dir, errno)
	}
	return nil
}

// restart is what the machine does when the power is back.
func (d *disk) restart() error {
	if err := syscall.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %s again: %w\n%s", d.image, err, out)
	}
	return nil
}
