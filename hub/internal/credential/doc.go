// Package credential holds what devices without a platform of their own sign in with and what they may do then: passwords,
// tokens that expire, and grants. It is the rules only; what a connection shows of itself is the dialect's business.
//
// A password is kept in the device's enrolment, as the hash of a secret with 256 random bits that this package has made
// (decision 0005) or as a slow hash of one that a person has chosen (decision 0009). Everything else about a device is one
// [Account], a record of its tenant under the key device/ID.
//
// Functions that write take a [Tx] and run inside a transaction of package commit; functions that only read take a
// [Reader]. Errors wrap the kinds of package core.
package credential
