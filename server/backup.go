package server

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"regexp"
	"time"

	"wend/event"
	"wend/storage"
)

// backupName is what a request may name: one folder in the configured one, and
// no path out of it.
var backupName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

func (s *Server) postBackup(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Name string `json:"name"`
		Keep string `json:"keep"`
	}
	if err := decodeBody(r, &req); err != nil {
		return err
	}
	if s.opt.BackupDir == "" {
		return &apiError{Status: http.StatusNotFound, Code: "no_backup_dir", Message: "this server has no folder for backups", Hint: "start it with --backup-dir"}
	}
	if !backupName.MatchString(req.Name) {
		return badRequest("bad_name", "a backup's name begins with a letter and has up to 64 of a-z, 0-9, _ and -", `send {"name": "nightly"}`)
	}
	opt := storage.BackupOptions{}
	if req.Keep != "" {
		keep, err := event.ParseDuration(req.Keep)
		if err != nil || keep <= 0 {
			return badRequest("bad_keep", "keep is not a time span", `send a span such as "30d"`)
		}
		opt.Keep = time.Duration(keep) * time.Microsecond
	}
	ctx, done := context.WithCancel(r.Context())
	defer done()
	defer context.AfterFunc(s.stop, done)()
	b, err := s.db.Backup(ctx, filepath.Join(s.opt.BackupDir, req.Name), opt)
	if errors.Is(err, storage.ErrBackupRunning) {
		return &apiError{Status: http.StatusConflict, Code: "backup_running", Message: "a backup of this name is being made", Retry: true}
	}
	if err != nil && r.Context().Err() == nil {
		s.log.Error("backup failed", "name", req.Name, "error", err)
	}
	if err != nil {
		return err
	}
	s.log.Info("backup made", "name", req.Name, "lsn", b.LSN, "files", len(b.Files), "bytes", b.Bytes)
	return writeJSON(w, http.StatusOK, b)
}
