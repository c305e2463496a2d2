//go:build forced

package forced

// Roaring says that the switch is on.
const Roaring = true
