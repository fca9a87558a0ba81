// Package outboxtest checks storage drivers of package outbox. A driver's test is
//
//	func TestStore(t *testing.T) {
//		outboxtest.Run(t, func(t testing.TB, dir string) outbox.Store { return mustOpen(t, dir) })
//	}
//
// for what every driver has to do, and likewise [RunDurable] for one that keeps its records over a restart.
// [PowerCuts] imitates power cuts at every write to the disk; for that, the driver's writes have to be recorded on a [Disk].
package outboxtest
