//go:build seeded

// Package seeded holds the switches of deliberate bugs; see off.go.
package seeded

import "sync/atomic"

var (
	current atomic.Pointer[string]
	reached atomic.Bool
)

// Switch turns one bug on and all others off; "" turns all off.
func Switch(bug string) {
	current.Store(&bug)
	reached.Store(false)
}

// On reports whether a deliberate bug is switched on.
func On(bug string) bool {
	if now := current.Load(); now == nil || *now != bug {
		return false
	}
	reached.Store(true)
	return true
}

// Reached reports whether code with the hook ran since the switch: a bug that
// no hook asks for proves nothing.
func Reached() bool { return reached.Load() }
