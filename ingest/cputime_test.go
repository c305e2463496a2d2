//go:build unix

package ingest

import (
	"syscall"
	"testing"
	"time"
)

// perRow reports processor time per row: unlike elapsed time, it is much the
// same on a machine that is busy with other things.
func perRow(b *testing.B, rows int64, began time.Duration) {
	b.ReportMetric(float64(processorTime()-began)/float64(rows), "cpu-ns/row")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
