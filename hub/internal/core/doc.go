// Package core holds the words that all dialects of the hub share: tenant, device, enrolment, document,
// sample, event, grant and the kinds of errors. It does no I/O and imports only the standard library.
//
// A dialect translates its platform's words into these (an Astarte realm is a Tenant, a property is an entry
// of a Document, a datastream value is a Sample); everything behind the dialects knows only these.
package core
