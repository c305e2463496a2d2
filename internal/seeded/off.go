//go:build !seeded

// Package seeded holds the switches of deliberate bugs, with which the random
// tests are tested: with the build tag `seeded` each bug in turn is switched
// on, and the comparison with the reference must notice.
//
// A hook in the code under test reads
//
//	if seeded.On("window_exclusive") { … }
//
// and is compiled away without the tag. The tests list what each bug is.
package seeded

// On reports whether a deliberate bug is switched on: never, in this build.
func On(string) bool { return false }
