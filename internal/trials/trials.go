// Package trials holds the real program against the real machine: it is
// killed, its power is cut, its disk fills up, its system calls fail, and what
// it acknowledged before has to be there.
//
// What can be decided in memory belongs to the simulation in package storage,
// which is a thousand times faster. Here are the few things that only a kernel
// can show. Trials that need root, loop devices or strace are skipped where
// there are none. Settings of the environment make them longer: WEND_KILLS,
// WEND_POWERCUT, WEND_CONFORMANCE, WEND_INJECT, WEND_FILLS, and WEND_SEED.
package trials
