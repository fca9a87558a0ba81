package awsiot

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// The records of an account are JSON under keys that doc.go lists. Functions that read take a store.RecordReader, which a
// snapshot and a transaction are; those that write are methods of Dialect, run inside a transaction, and tell live
// connections what has changed for them (see live.go). They keep the indexes in step; what the API of the platform refuses
// (a type that is in use, a name that is taken) is for their callers to check, in the same transaction. What is not there is
// core.ErrNotFound.

// readRecord reads one record into v.
func readRecord(rd store.RecordReader, t core.TenantID, key string, v any) error {
	raw, err := rd.Record(t, Name, key)
	if err != nil {
		return err
	}
	return decodeRecord(t, key, raw, v)
}

func decodeRecord(t core.TenantID, key string, raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("record %q of %s: %w: %v", key, t, core.ErrStorage, err)
	}
	return nil
}

// writeRecord writes one record.
func writeRecord(tx *commit.Tx, t core.TenantID, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %q of %s: %w: %v", key, t, core.ErrInvalid, err)
	}
	return tx.PutRecord(t, Name, key, raw)
}

// hasRecord reports whether there is a record.
func hasRecord(rd store.RecordReader, t core.TenantID, key string) (bool, error) {
	_, err := rd.Record(t, Name, key)
	if errors.Is(err, core.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// names returns at most limit (0: all) of what follows prefix in keys that begin with it and are behind prefix+after, in
// bytewise order, and reports whether there are more. It is how indexes are read, by the page: the last name of a page is
// the next one's after.
func names(rd store.RecordReader, t core.TenantID, prefix, after string, limit int) (list []string, more bool, err error) {
	from := prefix
	if after != "" {
		from = prefix + after + "\x00"
	}
	for r, err := range rd.RecordsFrom(t, Name, prefix, from) {
		if err != nil {
			return nil, false, err
		}
		if limit > 0 && len(list) == limit {
			return list, true, nil
		}
		list = append(list, strings.TrimPrefix(r.Key, prefix))
	}
	return list, false, nil
}

// records is names for the values too.
func records[T any](rd store.RecordReader, t core.TenantID, prefix, after string, limit int) (list []T, more bool, err error) {
	from := prefix
	if after != "" {
		from = prefix + after + "\x00"
	}
	for r, err := range rd.RecordsFrom(t, Name, prefix, from) {
		if err != nil {
			return nil, false, err
		}
		if limit > 0 && len(list) == limit {
			return list, true, nil
		}
		var v T
		if err := decodeRecord(t, r.Key, r.Value, &v); err != nil {
			return nil, false, err
		}
		list = append(list, v)
	}
	return list, false, nil
}

// link2 writes both directions of a relation, unlink2 deletes them.
func link2(tx *commit.Tx, t core.TenantID, from, to string, value []byte) error {
	return errors.Join(tx.PutRecord(t, Name, from, value), tx.PutRecord(t, Name, to, value))
}

func unlink2(tx *commit.Tx, t core.TenantID, from, to string) error {
	return errors.Join(tx.DeleteRecord(t, Name, from), tx.DeleteRecord(t, Name, to))
}

// millis and seconds are how the platform writes times.
func millis(t time.Time) int64 { return t.UnixMilli() }

// Names of what policies are attached to and of what is attached to things, as in ARNs.
const (
	certResource  = "cert/"
	groupResource = "thinggroup/"
)

// certificateOf returns the id of the certificate that a principal is, "" if it is none.
func certificateOf(principal string) string {
	id, ok := strings.CutPrefix(principal, certResource)
	if !ok {
		return ""
	}
	return id
}
