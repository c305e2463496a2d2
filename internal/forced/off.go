//go:build !forced

// Package forced holds the switch that has storage write, and tiles hold, what
// they would otherwise choose by size and so never choose for the small worlds
// of random tests: bitmaps as roaring bitmaps, codes of events and channels as
// integers, codes of texts without bit planes. Any choice must give the same
// answers. The build tag `forced` switches it on; without it, it is compiled away.
package forced

// Roaring says that the switch is on.
const Roaring = false
