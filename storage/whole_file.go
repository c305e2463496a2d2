package storage

import (
	"fmt"
	"path"

	"wend/storage/vfs"
)

// writeFile writes a file whole, durable but for its name.
func writeFile(fsys vfs.FS, name string, data []byte) error {
	err := writing(fsys, name, func(f vfs.File) error {
		_, err := f.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", path.Base(name), err)
	}
	return nil
}

// writing fills a file under a temporary name, syncs it, and renames it.
func writing(fsys vfs.FS, name string, fill func(vfs.File) error) error {
	temp := name + tempSuffix
	if err := fsys.Remove(temp); err != nil {
		return err
	}
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err != nil {
		_ = fsys.Remove(temp) // a leftover is removed by whoever comes next
	}
	return err
}
