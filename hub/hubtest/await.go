package hubtest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// awaitTimeout is longer than anything in memory takes, also on a machine that does other things.
const awaitTimeout = 30 * time.Second

// await asks until the answer is yes. What it says otherwise is what the test fails with after a time.
func await(tb testing.TB, ask func() (done bool, instead string)) {
	tb.Helper()
	for deadline := time.Now().Add(awaitTimeout); ; {
		done, instead := ask()
		if done {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("hubtest: after %v: %s", awaitTimeout, instead)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-tb.Context().Done():
			tb.Fatal("hubtest: the test has ended")
		}
	}
}

// find looks for a device: by dialect/tenant/id, or by its id alone, if only one has it.
func (h *Hub) find(tb testing.TB, id string) (admin.Device, bool) {
	tb.Helper()
	c := h.Admin(tb)
	q := admin.DeviceQuery{ID: id}
	if k, err := admin.ParseDeviceKey(id); err == nil {
		q = admin.DeviceQuery{Dialect: k.Dialect, Tenant: k.Tenant, ID: k.ID}
	}
	page, err := c.Devices(tb.Context(), q)
	switch {
	case admin.IsNotFound(err): // nor is there the tenant
		return admin.Device{}, false
	case err != nil:
		tb.Fatalf("hubtest: device %s: %v", id, err)
	case len(page.Items) > 1:
		tb.Fatalf("hubtest: device %s: there is more than one: say which as dialect/tenant/id", id)
	case len(page.Items) == 0:
		return admin.Device{}, false
	}
	return page.Items[0], true
}

// Device returns what the hub knows of a device, which has to be there. Here and below a device is named by dialect/tenant/id, as in "astarte/dev/Vi3j3M8YVpOPyuzqk8sg5A", or by its id
// alone, if no other one has that.
func (h *Hub) Device(tb testing.TB, id string) admin.Device {
	tb.Helper()
	d, ok := h.find(tb, id)
	if !ok {
		tb.Fatalf("hubtest: device %s: there is none", id)
	}
	d, err := h.Admin(tb).Device(tb.Context(), d.DeviceKey)
	if err != nil {
		tb.Fatalf("hubtest: device %s: %v", id, err)
	}
	return d
}

// WaitConnected waits until the hub has a connection of the device, and returns that.
func (h *Hub) WaitConnected(tb testing.TB, id string) admin.Connection {
	tb.Helper()
	return h.WaitReconnected(tb, id, admin.Connection{})
}

// WaitReconnected waits until the hub has a connection of the device, and another one than before.
func (h *Hub) WaitReconnected(tb testing.TB, id string, before admin.Connection) (now admin.Connection) {
	tb.Helper()
	await(tb, func() (bool, string) {
		d, ok := h.find(tb, id)
		if !ok {
			return false, fmt.Sprintf("device %s: there is none", id)
		}
		page, err := h.Admin(tb).Connections(tb.Context(), admin.SessionQuery{Device: d.DeviceKey})
		if err != nil && !admin.IsNotFound(err) {
			tb.Fatalf("hubtest: connections of %s: %v", id, err)
		}
		i := slices.IndexFunc(page.Items, func(c admin.Connection) bool { return c.Address != before.Address || !c.Since.Equal(before.Since.Time) })
		if i < 0 {
			return false, fmt.Sprintf("device %s: not connected", id)
		}
		now = page.Items[i]
		return true, ""
	})
	return now
}

// WaitDisconnected waits until the hub has noticed that the device is not connected, as it is before it connects for the first time. A device that comes back by itself may do so before
// anybody sees it gone: see [Hub.WaitReconnected].
func (h *Hub) WaitDisconnected(tb testing.TB, id string) (d admin.Device) {
	tb.Helper()
	await(tb, func() (bool, string) {
		d = h.Device(tb, id)
		return !d.Connected, fmt.Sprintf("device %s: still connected", id)
	})
	return d
}

// Samples returns what a device has sent to a channel, the oldest first: up to 1,000 values. How channels are called is the platform's matter: "fairlead data DEVICE" shows them. For Astarte it is
// "org.example.Climate:1/kitchen/temperature", the interface with its major version and the path; for plain MQTT the topic.
func (h *Hub) Samples(tb testing.TB, id, channel string) []admin.Sample {
	tb.Helper()
	d, ok := h.find(tb, id)
	if !ok {
		return nil
	}
	page, err := h.Admin(tb).Samples(tb.Context(), d.DeviceKey, admin.SampleQuery{Channel: channel, Limit: 1000})
	if err != nil {
		tb.Fatalf("hubtest: samples of %s: %v", id, err)
	}
	return page.Items
}

// AwaitSamples waits until a device has sent so many values to a channel, and returns them, the oldest first. There may be more: what a device sends with QoS 1 arrives
// at least once, and again if its acknowledgement was lost. See [Hub.AwaitValue].
func (h *Hub) AwaitSamples(tb testing.TB, id, channel string, n int) (samples []admin.Sample) {
	tb.Helper()
	await(tb, func() (bool, string) {
		samples = h.Samples(tb, id, channel)
		return len(samples) >= n, fmt.Sprintf("device %s: %d samples of %s, want %d", id, len(samples), channel, n)
	})
	return samples
}

// AwaitSample waits until a device has sent a value to a channel, and returns the newest as Go value: see [admin.Value.Decode].
func (h *Hub) AwaitSample(tb testing.TB, id, channel string) any {
	tb.Helper()
	samples := h.AwaitSamples(tb, id, channel, 1)
	return Decode(tb, samples[len(samples)-1])[0]
}

// AwaitValue waits until a device has sent a certain value to a channel, and returns all samples, the oldest first. The value is compared as Go value with what [admin.Value.Decode] returns, so
// integers are int64.
func (h *Hub) AwaitValue(tb testing.TB, id, channel string, want any) (samples []admin.Sample) {
	tb.Helper()
	await(tb, func() (bool, string) {
		samples = h.Samples(tb, id, channel)
		values := Decode(tb, samples...)
		return slices.ContainsFunc(values, func(v any) bool { return reflect.DeepEqual(v, want) }),
			fmt.Sprintf("device %s: %s has %d samples, and none that is %v; the last ones: %v", id, channel, len(samples), want, values[max(0, len(values)-10):])
	})
	return samples
}

// Decode returns the values of samples: nil, bool, int64, float64, time.Time, string, []byte, []any or map[string]any of these.
func Decode(tb testing.TB, samples ...admin.Sample) []any {
	tb.Helper()
	values := make([]any, len(samples))
	for i, s := range samples {
		v, err := s.Decode()
		if err != nil {
			tb.Fatalf("hubtest: %v", err)
		}
		values[i] = v
	}
	return values
}
