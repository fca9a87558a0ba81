// Package outbox is a durable queue of messages on their way out of a device. A message that it has accepted survives power cuts
// until somebody deletes it, because it has arrived where it should.
//
// The platform packages of this module use it, and most programs do no more than open one and hand it over. It stands alone, too:
//
//	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: "/var/lib/pump/outbox.db"})
//	if err != nil {
//		return err
//	}
//	box, err := outbox.Open(ctx, outbox.Config{Store: store, Policy: outbox.DropOldest})
//	if err != nil {
//		return err
//	}
//	defer box.Close()
//
//	// A producer. When Append returns, the message is on disk.
//	id, err := box.Append(ctx, outbox.Message{Header: []byte("temp"), Payload: []byte("21.5")})
//
//	// The sender: in order, again after a restart, deleted when the other side has it.
//	r := box.Reader()
//	for {
//		entries, err := r.Next(ctx, 100)
//		...
//		err = box.Delete(ctx, ids...)
//	}
//
// # What is promised
//
//   - Append and Delete return when their effect would survive a power cut. Callers that come at the same time share
//     one write and one sync, so that many producers are not limited by the disk's latency.
//   - Messages are read in the order of priority, and equal priorities in the order of acceptance, also after a restart.
//   - A message is sent at least once: after a crash between sending and deleting it is there again.
//   - The outbox never grows beyond [Config.MaxMessages] and [Config.MaxBytes]. What happens then is chosen by [Config.Policy].
//     Whatever is dropped is counted in [Stats] and reported to [Config.OnDrop]; nothing disappears silently.
//   - Memory does not depend on how much is stored: a [Reader] holds one page.
//
// # Time
//
// A message may have a lifetime, and the outbox an age limit. What has expired is never returned by a Reader; it is removed when a
// Reader meets it and when room is needed. Both go by the device's clock. A message that was accepted before the
// clock was set, that is to say before the year 2000, does not expire: its age is unknown, and sent late is better than lost.
//
// # Drivers
//
// Where messages are kept is a [Store]: package sqlitebox, a file; [NewMemory], for data that may end with the process; or your own, checked
// with package outboxtest.
package outbox
