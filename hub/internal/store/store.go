// Package store says what a storage driver implements; drivers live below it, and package storetest is the suite
// that every driver passes. One goroutine writes (package commit), any number read.
//
// Errors: an object that is not there is core.ErrNotFound, and so is the device, tenant or session that a new row belongs
// to; an object that is there already is core.ErrConflict. Deleting what is not there is no error. When the disk refuses
// (full, failing, read-only) the error is core.ErrStorage and the whole transaction is undone, whatever its function
// makes of the error. After Close everything is core.ErrStopping.
//
// Times are kept in microseconds and returned in UTC. Text is compared byte by byte.
package store

import (
	"context"
	"iter"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Store is an open database.
type Store interface {
	// Update runs fn in the one write transaction and commits it. It returns nil only when everything that fn wrote
	// would survive a power cut. An error of fn is returned as it is, and everything is undone; so it is when fn panics.
	// Only package commit calls it, never twice at once.
	Update(fn func(Tx) error) error
	// View runs fn on a consistent snapshot. It may be called at any time from any goroutine, but not within another
	// View; ctx bounds the wait for a free connection and interrupts long reads, whose error is then that of ctx. fn should
	// not wait for anything else, such as a client: a snapshot that is held costs the driver, which may interrupt it with
	// core.ErrStorage. The Reader ends with fn.
	View(ctx context.Context, fn func(Reader) error) error
	// Size returns how many bytes the database takes, and how many more its log does (0 if the driver has none).
	Size() (database, log int64, err error)
	// Close waits for Update, interrupts views, and waits for their ends.
	Close() error
}

// Tx is a write transaction, used by one goroutine; it reads what it has written. It ends with the function of Update.
type Tx interface {
	Reader
	TenantWriter
	TokenWriter
	DeviceWriter
	DocumentWriter
	SampleWriter
	RecordWriter
	SessionWriter
	RetainedWriter
	WillWriter
	DropWriter

	// Savepoint runs fn; when fn fails, what it wrote is undone, its error returned as it is, and the transaction goes on.
	// Savepoints nest. Any other error than that of fn means that the transaction is lost.
	Savepoint(fn func() error) error
}

// Reader reads. Slices and strings that it returns belong to the caller. Sequences may be read within each other and
// ended early; after an error they yield nothing more.
type Reader interface {
	TenantReader
	TokenReader
	DeviceReader
	DocumentReader
	SampleReader
	RecordReader
	SessionReader
	RetainedReader
	WillReader
	UsageReader
}

// TenantReader reads tenants and events.
type TenantReader interface {
	Tenant(id core.TenantID) (core.Tenant, error)
	Tenants() ([]core.Tenant, error)                     // by id
	Events(after int64, limit int) ([]core.Event, error) // with Seq above after, ascending
	LastEvent() (seq int64, err error)                   // 0: none yet
	// TenantEvents and DeviceEvents are Events for those of one tenant (its devices' included) and of one device.
	TenantEvents(t core.TenantID, after int64, limit int) ([]core.Event, error)
	DeviceEvents(k core.DeviceKey, after int64, limit int) ([]core.Event, error)
	// EventsBefore returns events with Seq below before (0: all), descending: those of one device if k has an id, else of one
	// tenant if it has one.
	EventsBefore(k core.DeviceKey, before int64, limit int) ([]core.Event, error)
	// EventCounts yields how many events there are of each device, by key, beginning with from, which need not exist. Events
	// that are of no device have a key without an id.
	EventCounts(from core.DeviceKey) iter.Seq2[EventCount, error]
	// DroppedEvents returns the highest Seq that DropEventsOf has dropped of a tenant's events, of anybody's for ""; 0: none.
	// Behind it there are no holes but those of others.
	DroppedEvents(t core.TenantID) (seq int64, err error)
}

// An EventCount says how many events there are of a device.
type EventCount struct {
	Device core.DeviceKey
	Count  int64
}

// TenantWriter writes tenants and events.
type TenantWriter interface {
	InsertTenant(t core.Tenant) error // core.ErrConflict also while one of that id is being deleted
	// CloseTenant sets Deleting: the tenant gets no new devices, and is there until DeleteTenant.
	CloseTenant(id core.TenantID) error
	// SweepTenant deletes at most about limit rows of a tenant that is closed: devices, as DeleteDevice does, records, wills,
	// tokens and events. It returns how many; 0 is the end. Sessions and retained messages are the broker's to delete.
	SweepTenant(id core.TenantID, limit int) (changed int, err error)
	// DeleteTenant deletes a tenant that has nothing any more, else core.ErrConflict.
	DeleteTenant(id core.TenantID) error
	AppendEvent(e *core.Event) error            // sets e.Seq
	DropEvents(before int64) (n int, err error) // with Seq below before
}

// TokenReader reads the tokens of the admin API.
type TokenReader interface {
	Token(id string) (core.Token, error)
	TokenByHash(hash [32]byte) (core.Token, error)
	Tokens() ([]core.Token, error) // by id
}

// TokenWriter writes the tokens of the admin API.
type TokenWriter interface {
	InsertToken(t core.Token) error
	DeleteToken(id string) error // core.ErrNotFound if it is not there
}

// DeviceReader reads devices and what belongs to their identity.
type DeviceReader interface {
	Device(k core.DeviceKey) (core.Device, error)
	DeviceByNum(n core.DeviceNum) (core.Device, error)
	// Devices returns at most limit devices of a tenant and dialect ("" for all dialects) with Num above after, by Num.
	Devices(t core.TenantID, dialect string, after core.DeviceNum, limit int) ([]core.Device, error)
	// FindDevices returns devices by id, bytewise.
	FindDevices(q core.DeviceQuery) ([]core.Device, error)
	// DeviceDialects returns the dialects that the tenant has devices of, sorted.
	DeviceDialects(t core.TenantID) ([]string, error)
	CountDevices(t core.TenantID, dialect string) (total, connected int, err error)
	Enrolment(n core.DeviceNum) (core.Enrolment, error)
	Certificate(serial string) (core.Certificate, error)
	Certificates(n core.DeviceNum) ([]core.Certificate, error) // oldest first
	// Revoked yields the revoked certificates of one issuer that end after a time, in the order of issue.
	Revoked(authorityKeyID string, after time.Time) iter.Seq2[core.Certificate, error]
	Counts(n core.DeviceNum) ([]core.Count, error) // by scope
	// DeletedDevices returns deleted devices that have something to sweep at a time.
	DeletedDevices(due time.Time, limit int) ([]core.DeviceNum, error)
}

// DeviceWriter writes devices and what belongs to their identity.
type DeviceWriter interface {
	InsertDevice(d *core.Device) error // sets d.Num
	UpdateDevice(d core.Device) error  // by d.Num; its key stays as it is
	PutEnrolment(e core.Enrolment) error
	PutCertificate(c core.Certificate) error
	AddCount(n core.DeviceNum, c core.Count) error // adds to what is there
	// DeleteDevice deletes a device with its enrolment: its key is free for another one. What else hangs on its number
	// (documents, samples, counters, certificates) is found no more by the key, and is deleted by SweepDevice. Its sessions
	// stay.
	DeleteDevice(n core.DeviceNum) error // core.ErrNotFound if it is not there
	// SweepDevice deletes at most about limit rows of a deleted device, and returns how many it has changed; 0 is the end
	// for now. Certificates that have not ended are revoked and stay until they end; then there is something to sweep again.
	SweepDevice(n core.DeviceNum, now time.Time, limit int) (changed int, err error)
}

// DocumentReader reads documents.
type DocumentReader interface {
	Entry(k core.DocumentKey, path string) (core.Entry, error)
	Entries(k core.DocumentKey) ([]core.Entry, error) // by path, bytewise
	// Leaves yields the entries of all documents of a device by document, side and path, beginning with from, which need
	// not exist: of it only the place counts, and the zero Leaf is before all.
	Leaves(n core.DeviceNum, from core.Leaf) iter.Seq2[core.Leaf, error]
}

// DocumentWriter writes documents.
type DocumentWriter interface {
	PutEntry(k core.DocumentKey, e core.Entry) error
	DeleteEntry(k core.DocumentKey, path string) error // one that is not there is no error
}

// SampleReader reads samples.
type SampleReader interface {
	// Series returns the device's series whose channel begins with prefix, by channel.
	Series(n core.DeviceNum, prefix string) ([]*core.Series, error)
	// SeriesAfter is Series for at most limit channels behind after ("": from the first).
	SeriesAfter(n core.DeviceNum, prefix, after string, limit int) ([]*core.Series, error)
	// Samples yields the samples of a series in the order of At, among equals in the order of acceptance (both reversed
	// when r.Backwards). A series that was never stored has none. Values belong to the caller.
	Samples(s *core.Series, r core.Range) iter.Seq2[core.Sample, error]
}

// SampleWriter writes samples.
type SampleWriter interface {
	AppendBlock(b *core.Block) error // b may be reused afterwards; makes the series when there is none
	// DeleteSeries deletes at most about limit rows of the series of a device whose channels begin with prefix. It returns how
	// many; 0 is the end.
	DeleteSeries(n core.DeviceNum, prefix string, limit int) (changed int, err error)
}

// RecordReader reads what dialects keep for themselves: small values under keys of their own making, "interface/x/1".
type RecordReader interface {
	Record(t core.TenantID, dialect, key string) ([]byte, error)
	// Records yields the keys that begin with prefix, in bytewise order, and their values.
	Records(t core.TenantID, dialect, prefix string) iter.Seq2[Record, error]
	// RecordsFrom is Records beginning with the key from, which need not exist: for those who read by the page.
	RecordsFrom(t core.TenantID, dialect, prefix, from string) iter.Seq2[Record, error]
}

// A Record is one key and its value.
type Record struct {
	Key   string
	Value []byte
}

// RecordWriter writes records.
type RecordWriter interface {
	PutRecord(t core.TenantID, dialect, key string, value []byte) error
	DeleteRecord(t core.TenantID, dialect, key string) error // one that is not there is no error
}

// SessionReader reads the MQTT sessions that outlive connections.
type SessionReader interface {
	Sessions() iter.Seq2[core.Session, error]
	// FindSessions returns sessions by tenant, dialect and client id, bytewise.
	FindSessions(q core.SessionQuery) ([]core.Session, error)
	Subscriptions() iter.Seq2[core.Subscription, error]           // of all sessions
	Received(session int64) ([]uint16, error)                     // QoS 2 packet identifiers not yet released by the client
	Queue(session, after int64, limit int) ([]core.Queued, error) // with Seq above after, ascending
	// SharedQueue is Queue for those that came by shared subscriptions.
	SharedQueue(session, after int64, limit int) ([]core.Queued, error)
	QueueSizes() iter.Seq2[QueueSize, error] // sessions with nothing queued are left out
}

// QueueSize sums up what a session has queued.
type QueueSize struct {
	Session      int64
	Count, Bytes int // of topics, payloads and properties
	LastSeq      int64
}

// SessionWriter writes the MQTT sessions that outlive connections.
type SessionWriter interface {
	InsertSession(s *core.Session) error // sets s.Num
	// DeleteSession deletes a session with all that belongs to it. Its key is free at once; what it has queued beyond some
	// messages is found no more, and is deleted by SweepSessions.
	DeleteSession(num int64) error
	// SweepSessions deletes at most limit messages of sessions that are deleted. It returns how many rows it has changed; 0 is
	// the end.
	SweepSessions(limit int) (changed int, err error)
	// SetSessionExpiry sets Expiry and Expires of a session.
	SetSessionExpiry(num int64, expiry time.Duration, at time.Time) error
	PutSubscription(s core.Subscription) error
	DeleteSubscription(session int64, filter string) error
	PutReceived(session int64, id uint16) error
	DeleteReceived(session int64, id uint16) error
	Enqueue(q core.Queued) error
	Release(session, seq int64) error         // sets Queued.Released
	Dequeue(session, first, last int64) error // what is not there is no error
	// DropQueued drops messages that have expired, at most limit, but not those with Seq up to after nor the first skip of
	// the queue. It returns how many it dropped, and their topics', payloads' and properties' bytes.
	DropQueued(session, after int64, skip int, now time.Time, limit int) (n, bytes int, err error)
}

// WillReader reads wills.
type WillReader interface {
	Wills() iter.Seq2[core.Will, error] // by Num
}

// WillWriter writes wills.
type WillWriter interface {
	InsertWill(w *core.Will) error // sets w.Num
	SetWillDue(num int64, at time.Time) error
	DeleteWill(num int64) error // one that is not there is no error
}

// RetainedReader reads retained messages, also those that have expired.
type RetainedReader interface {
	Retained(t core.TenantID, dialect, topic string) (core.Retained, error)
	// RetainedFrom yields the retained messages whose topic begins with prefix, by topic, bytewise, beginning with the
	// topic from, which need not exist.
	RetainedFrom(t core.TenantID, dialect, prefix, from string) iter.Seq2[core.Retained, error]
	// RetainedSizes yields the tenants and dialects that have some.
	RetainedSizes() iter.Seq2[RetainedSize, error]
}

// RetainedSize sums up what a tenant's devices of a dialect have retained.
type RetainedSize struct {
	Tenant       core.TenantID
	Dialect      string
	Count, Bytes int // of topics, payloads and properties
}

// RetainedWriter writes retained messages.
type RetainedWriter interface {
	PutRetained(t core.TenantID, dialect string, m core.Retained) error // replaces that of the topic
	DeleteRetained(t core.TenantID, dialect, topic string) error        // one that is not there is no error
	// DropExpired deletes at most limit messages that have expired, those first that did so first, and returns the size
	// of each.
	DropExpired(now time.Time, limit int) (dropped []RetainedSize, err error)
	// DropTenantRetained deletes at most limit messages of a tenant, and returns the size of each.
	DropTenantRetained(t core.TenantID, limit int) (dropped []RetainedSize, err error)
}

// UsageReader reads what decides about how long data is kept.
type UsageReader interface {
	// Usage returns how many bytes of the database hold data, and how many are free for new data before it has to grow.
	Usage() (used, free int64, err error)
	// OldestSamples returns when the block that was stored first was received, the zero time if there is none.
	OldestSamples() (received time.Time, err error)
	// SampleSizes looks at the first limit blocks behind a place, in the order in which they were stored, and sums up their
	// sizes by tenant; those of deleted devices are of the tenant "". next is the place of the last one; done: there is no
	// more. The zero Place is the beginning.
	SampleSizes(from Place, limit int) (sizes map[core.TenantID]int64, next Place, done bool, err error)
}

// DropWriter drops what is old, in pieces of the caller's choosing: a transaction holds up everybody else's.
type DropWriter interface {
	// DropEventsOf drops the oldest events of a device; of a tenant, its devices' included, if the key has no id. It returns
	// how many it has dropped: fewer than limit is the end.
	DropEventsOf(k core.DeviceKey, limit int) (n int, err error)
	// DropSamples looks at the limit blocks that were stored first and drops them up to the last one that was received
	// before a time (the zero time: all).
	DropSamples(before time.Time, limit int) (Dropped, error)
	// DropTenantSamples looks at the first limit blocks behind a place, as SampleSizes does, and drops those of a tenant.
	DropTenantSamples(t core.TenantID, from Place, limit int) (d Dropped, next Place, done bool, err error)
	// DropSeriesSamples looks at the first limit blocks of a series behind a place and drops those that were received before
	// a time, if all their samples are of before that time too. next is the place to go on from; done: there is no more. A
	// place is good for one series and one time, and the zero Place is the beginning.
	DropSeriesSamples(s *core.Series, before time.Time, from Place, limit int) (d Dropped, next Place, done bool, err error)
}

// Dropped says what was dropped.
type Dropped struct {
	Blocks, Samples, Bytes int64
}

// A Place is a place within the blocks of a series, or within all blocks, of the driver's making.
type Place struct{ A, B int64 }
