package hub

import (
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// admin returns a client of the hub's API.
func (r *running) admin(t *testing.T) *admin.Client {
	t.Helper()
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

func notFound(err error) bool {
	var refused *admin.Error
	return errors.As(err, &refused) && refused.Status == http.StatusNotFound
}

// tenantGone waits until a tenant is not there any more.
func tenantGone(t *testing.T, c *admin.Client, id string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := c.Tenant(t.Context(), id)
		if notFound(err) {
			return
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("tenant %s is not gone: %v", id, err)
		}
	}
}

// TestDeleteTenant: platforms forget a tenant too, what they keep in memory included, and one of the same name has nothing.
func TestDeleteTenant(t *testing.T) {
	r := start(t, Config{Development: true})
	c := r.admin(t)
	realm := func() int {
		t.Helper()
		res, err := c.HTTP.Get(c.URL + "/pairing/v1/dev/version")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	was := realm()
	if _, err := c.DeleteTenant(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	tenantGone(t, c, "dev")
	for range 2 {
		if now := realm(); now == was {
			t.Errorf("the realm answers %d, as before", now)
		}
		if _, err := c.CreateTenant(t.Context(), admin.NewTenant{ID: "dev"}); err != nil {
			break // the second time
		}
	}
	list, err := c.Devices(t.Context(), admin.DeviceQuery{Tenant: "dev"})
	if err != nil || len(list.Items) > 0 {
		t.Errorf("devices of the new one: %v, %v", list.Items, err)
	}
}

// TestDevelopmentAfterAnUnfinishedDeletion: a start for development completes what the last process has begun to delete.
func TestDevelopmentAfterAnUnfinishedDeletion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, Config{Development: true, DataDir: dir})
	databases, err := filepath.Glob(filepath.Join(dir, "*", "*.db"))
	if err != nil || len(databases) != 1 {
		t.Fatalf("databases: %v, %v", databases, err)
	}
	r.stop()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: filepath.Dir(databases[0])})
	if err != nil {
		t.Fatal(err)
	}
	err = st.Update(func(tx store.Tx) error { return tx.CloseTenant("dev") })
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	r = start(t, Config{Development: true, DataDir: dir})
	x, err := r.admin(t).Tenant(t.Context(), "dev")
	if err != nil || x.Deleting || x.Devices.Total == 0 {
		t.Errorf("got %+v, %v, want a new tenant with the demo device", x, err)
	}
}
