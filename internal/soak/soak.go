// Package soak puts the real server under load that lasts: clients that send,
// ask and attack at once, beside an oracle that knows what was acknowledged and
// so what every answer has to be. It leaves crashes to package trials and what
// operators compute to package randtest.
//
// A few seconds of it are among the ordinary tests. Settings of the environment
// make it longer: WEND_SOAK (a duration), WEND_RESEND (batches), WEND_HOSTILE
// (events of the worst customer), WEND_SEED.
package soak
