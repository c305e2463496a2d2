package server

import (
	"encoding/json"
	"strings"
	"testing"

	"wend/storage"
)

// A server backs its store up into the folder that it was started with, and
// nowhere else, whatever a request names.
func TestBackupOverHTTP(t *testing.T) {
	s := open(t, Options{BackupDir: "backups"})
	s.do("POST", "/v1/events", `{"customer": "ann", "time": "2025-03-01T10:00:00Z", "event": "view"}`)

	r := s.do("POST", "/v1/backup", `{"name": "nightly", "keep": "7d"}`)
	var b storage.Backup
	if err := json.Unmarshal([]byte(r.body), &b); r.StatusCode != 200 || err != nil || b.Events != 1 || b.LSN == 0 {
		t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	report, err := storage.VerifyBackup(t.Context(), s.files, "backups/nightly")
	if err != nil || len(report.Damaged) > 0 || report.LSN != b.LSN || report.Expires.Sub(report.Made).Hours() != 7*24 {
		t.Errorf("%+v, %v", report, err)
	}
	for _, name := range []string{"", ".", "..", "../store", "a/b", "/etc", "nightly/../../x", "Nightly", "-x", "ä", "a\x00", strings.Repeat("a", 65)} {
		body, err := json.Marshal(map[string]string{"name": name})
		if err != nil {
			t.Fatal(err)
		}
		if r := s.do("POST", "/v1/backup", string(body)); r.StatusCode != 400 || !strings.Contains(r.body, "bad_name") {
			t.Errorf("name %q: %d %s", name, r.StatusCode, r.body)
		}
	}
	if names, err := s.files.ReadDir("backups"); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	if r := open(t, Options{}).do("POST", "/v1/backup", `{"name": "nightly"}`); r.StatusCode != 404 || !strings.Contains(r.body, "--backup-dir") {
		t.Errorf("without a folder: %d %s", r.StatusCode, r.body)
	}
}
