package astarte

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// FuzzModel: whatever is in storage, reading it does not panic, and what was read is written again so that it means the same.
func FuzzModel(f *testing.F) {
	f.Add([]byte(`{"introspection":"com.example.A:1:2;b:0:1","previous":[{"name":"c","major":1,"minor":0}],"pendingEmptyCache":true}`))
	f.Add([]byte(`{"introspection":";"}`))
	f.Add([]byte(`{}`))
	k := core.DeviceKey{Tenant: "t", Dialect: dialectName, ID: "d"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseModel(k, raw)
		if err != nil {
			return
		}
		var first, second records
		if err := saveModel(&first, k, m); err != nil {
			t.Fatal(err)
		}
		again, err := parseModel(k, first.value)
		if err != nil {
			t.Fatalf("%s: %v", first.value, err)
		}
		if err := saveModel(&second, k, again); err != nil || !bytes.Equal(first.value, second.value) {
			t.Errorf("got %s, then %s, %v", first.value, second.value, err)
		}
	})
}

// records keeps the last record.
type records struct{ value []byte }

func (r *records) PutRecord(_ core.TenantID, _, _ string, v []byte) error {
	r.value = bytes.Clone(v)
	if !json.Valid(v) {
		return core.ErrInvalid
	}
	return nil
}
func (r *records) DeleteRecord(core.TenantID, string, string) error { return nil }

// FuzzPublicKey: a realm's key comes from whoever makes realms.
func FuzzPublicKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6lOLYTdOJb4XUPvBpbyiqvGOHxG8\nB9UB5jNwBqDdEn8cDbHsf5RPVfQnJ1jPXcQb0FkXJg4XBe3c7rsJLUqk2g==\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parsePublicKey(text)
		if (k == nil) == (err == nil) {
			t.Errorf("got %v, %v", k, err)
		}
	})
}
