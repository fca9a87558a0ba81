package job

import (
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Reader reads records; package store's readers and transactions satisfy it.
type Reader interface {
	Record(t core.TenantID, dialect, key string) ([]byte, error)
	RecordsFrom(t core.TenantID, dialect, prefix, from string) iter.Seq2[store.Record, error]
}

// A Book is what a tenant has of a dialect's jobs, to be read.
type Book struct {
	rd      Reader
	tenant  core.TenantID
	dialect string
}

// Read returns the jobs of a tenant and dialect.
func Read(rd Reader, t core.TenantID, dialect string) Book { return Book{rd, t, dialect} }

const (
	keySpec     = "job/"
	keyTargets  = "job-targets/"
	keyState    = "job-state/"
	keySeq      = "job-seq"
	keyWait     = "job-wait/"
	keyWork     = "job-work/"
	keyTarget   = "job-target/"
	keyDeleting = "job-deleting/"
	keyExec     = "job-exec/"
	keyPast     = "job-past/"
	keyDevice   = "job-device/"
	keyPending  = "job-pending/"
	keyDue      = "job-due/"
)

func waitKey(id string, n int) string { return fmt.Sprintf("%s%s/%08d", keyWait, id, n) }

func workKey(at time.Time, id string) string {
	return fmt.Sprintf("%s%020d/%s", keyWork, at.UnixMicro(), id)
}

func execKey(id string, d core.DeviceID) string { return keyExec + id + "/" + string(d) }

func pastKey(id string, d core.DeviceID, n int64) string {
	return fmt.Sprintf("%s%s/%s/%010d", keyPast, id, d, n)
}

func deviceKey(d core.DeviceID, id string) string { return keyDevice + string(d) + "/" + id }

// pendingKey sorts what is pending: executions in progress first, each kind by age, then by the age of the job.
func pendingKey(x *Execution) string {
	rank := 1
	if x.State == InProgress {
		rank = 0
	}
	return fmt.Sprintf("%s%s/%d/%020d/%012d/%s", keyPending, x.Device, rank, x.Queued.UnixMicro(), x.Seq, x.Job)
}

func dueKey(x *Execution) string {
	return fmt.Sprintf("%s%020d/%s/%s", keyDue, x.Due().UnixMicro(), x.Job, x.Device)
}

func (b Book) read(key string, v any) error {
	raw, err := b.rd.Record(b.tenant, b.dialect, key)
	if err != nil {
		return err
	}
	return decode(key, raw, v)
}

func decode(key string, raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("record %q: %w: %v", key, core.ErrStorage, err)
	}
	return nil
}

// Job returns a job; core.ErrNotFound.
func (b Book) Job(id string) (j Job, err error) {
	if err := b.read(keySpec+id, &j.Spec); err != nil {
		return j, err
	}
	return j, b.read(keyState+id, &j.Progress)
}

// Targets returns what a job was made for: names of the dialect's. They can be many, so they are no part of the Job.
func (b Book) Targets(id string) (list []string, err error) {
	return list, b.read(keyTargets+id, &list)
}

// Jobs returns at most limit jobs by id, those behind after only, and whether there are more.
func (b Book) Jobs(after string, limit int) (list []Job, more bool, err error) {
	for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, keySpec, behind(keySpec, after)) {
		if err != nil {
			return nil, false, err
		}
		if len(list) == limit {
			return list, true, nil
		}
		var j Job
		if err := decode(r.Key, r.Value, &j.Spec); err != nil {
			return nil, false, err
		}
		if err := b.read(keyState+j.ID, &j.Progress); err != nil {
			return nil, false, err
		}
		list = append(list, j)
	}
	return list, false, nil
}

// behind is the place behind a key with that prefix; "" is before all.
func behind(prefix, after string) string {
	if after == "" {
		return prefix
	}
	return prefix + after + "\x00"
}

// Execution returns an execution of a job on a device: the newest for number 0; core.ErrNotFound.
func (b Book) Execution(id string, d core.DeviceID, number int64) (x Execution, err error) {
	if err := b.read(execKey(id, d), &x); err != nil || number == 0 || number == x.Number {
		return x, err
	}
	var past Execution
	return past, b.read(pastKey(id, d, number), &past)
}

// Executions returns at most limit newest executions of a job by device, those behind after only, and whether there are more.
func (b Book) Executions(id string, after core.DeviceID, limit int) (list []Execution, more bool, err error) {
	prefix := keyExec + id + "/"
	for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, prefix, behind(prefix, string(after))) {
		if err != nil {
			return nil, false, err
		}
		if len(list) == limit {
			return list, true, nil
		}
		var x Execution
		if err := decode(r.Key, r.Value, &x); err != nil {
			return nil, false, err
		}
		list = append(list, x)
	}
	return list, false, nil
}

// Past returns the executions of a job on a device before the newest.
func (b Book) Past(id string, d core.DeviceID) (list []Execution, err error) {
	prefix := fmt.Sprintf("%s%s/%s/", keyPast, id, d)
	for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, prefix, prefix) {
		if err != nil {
			return nil, err
		}
		var x Execution
		if err := decode(r.Key, r.Value, &x); err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

// OfDevice returns at most limit newest executions of a device by job, those behind after only, and whether there are more.
func (b Book) OfDevice(d core.DeviceID, after string, limit int) (list []Execution, more bool, err error) {
	prefix := deviceKey(d, "")
	for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, prefix, behind(prefix, after)) {
		if err != nil {
			return nil, false, err
		}
		if len(list) == limit {
			return list, true, nil
		}
		x, err := b.Execution(r.Key[len(prefix):], d, 0)
		if err != nil {
			return nil, false, err
		}
		list = append(list, x)
	}
	return list, false, nil
}

// Pending returns at most limit pending executions of a device: those in progress, then those that are queued, the oldest first.
func (b Book) Pending(d core.DeviceID, limit int) (list []Execution, err error) {
	prefix := keyPending + string(d) + "/"
	for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, prefix, prefix) {
		if err != nil {
			return nil, err
		}
		if len(list) == limit {
			break
		}
		x, err := b.Execution(r.Key[strings.LastIndexByte(r.Key, '/')+1:], d, 0)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

// Next returns what a device is to do next, or is doing: the first of what is pending; core.ErrNotFound if nothing is.
func (b Book) Next(d core.DeviceID) (Execution, error) {
	list, err := b.Pending(d, 1)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("pending jobs of %s: %w", d, core.ErrNotFound)
	}
	if err != nil {
		return Execution{}, err
	}
	return list[0], nil
}

// first returns the first key with a prefix, which continues with a time in microseconds; zero: there is none.
func (b Book) first(prefix string) (at time.Time, rest string, err error) {
	for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, prefix, prefix) {
		if err != nil {
			return at, "", err
		}
		micros, rest, _ := strings.Cut(r.Key[len(prefix):], "/")
		n, err := strconv.ParseInt(micros, 10, 64)
		if err != nil {
			return at, "", fmt.Errorf("record %q: %w: %v", r.Key, core.ErrStorage, err)
		}
		return time.UnixMicro(n).UTC(), rest, nil
	}
	return at, "", nil
}

// withWaiting returns the ids of jobs that devices are still to get.
func (b Book) withWaiting() (ids []string, err error) {
	for from := keyWait; ; {
		id := ""
		for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, keyWait, from) {
			if err != nil {
				return nil, err
			}
			id, _, _ = strings.Cut(r.Key[len(keyWait):], "/")
			break
		}
		if id == "" {
			return ids, nil
		}
		ids = append(ids, id)
		from = keyWait + id + "0" // behind all of its records: "0" comes after "/"
	}
}

// NextWork returns when there is something to be done; zero: nothing.
func (b Book) NextWork() (time.Time, error) {
	work, _, err := b.first(keyWork)
	if err != nil {
		return work, err
	}
	due, _, err := b.first(keyDue)
	if work.IsZero() || !due.IsZero() && due.Before(work) {
		return due, err
	}
	return work, err
}

// OfTarget returns the ids of continuous jobs with a target.
func (b Book) OfTarget(target string) (ids []string, err error) {
	prefix := keyTarget + target + "/"
	for r, err := range b.rd.RecordsFrom(b.tenant, b.dialect, prefix, prefix) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, r.Key[len(prefix):])
	}
	return ids, nil
}
