package awsiot

import (
	"fmt"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// BenchmarkJobFanOut gives a job to 1,000 things and tells them.
func BenchmarkJobFanOut(b *testing.B) {
	r := newServiceRig(b)
	var targets []string
	r.do(func(tx *commit.Tx) error {
		for i := range 1000 {
			x := thing{Name: fmt.Sprintf("thing-%d", i)}
			targets = append(targets, r.a.arn(keyThing+x.Name))
			if err := r.d.putThing(tx, testTenant, x); err != nil {
				return err
			}
		}
		return nil
	})
	n := 0
	for b.Loop() {
		id := fmt.Sprintf("job-%d", n)
		n++
		if _, err := r.d.createJob(b.Context(), testTenant, id, createJobInput{Targets: targets, Document: `{"operation":"reboot"}`}); err != nil {
			b.Fatal(err)
		}
		r.work()
		b.StopTimer()
		if got := len(r.heard()); got < 1000 {
			b.Fatalf("%d messages", got)
		}
		if err := r.d.deleteJob(b.Context(), testTenant, id, true); err != nil {
			b.Fatal(err)
		}
		r.work()
		r.heard()
		b.StartTimer()
	}
}

// BenchmarkShadowUpdate updates the shadows of 100 things, 50 updates to a transaction: what the committer's goroutine can do.
func BenchmarkShadowUpdate(b *testing.B) {
	r := newServiceRig(b)
	payload := []byte(`{"state":{"reported":{"temperature":21.5,"humidity":40,"state":{"pump":"on","valve":false}},"desired":{"state":{"pump":"on"}}},"clientToken":"0b2ab5a5-3f43-4b63-a2ab-1f6a51c1a4b4"}`)
	done := make(batchDone, 1)
	for n := 0; n < b.N; {
		batch := &commit.Batch{Owner: done}
		for range min(50, b.N-n) {
			t := parseReserved(fmt.Sprintf("$aws/things/thing-%d/shadow/update", n%100))
			if err := r.d.shadows.receive(r.sender("c"), &t, dialect.Publish{Payload: payload}, batch); err != nil {
				b.Fatal(err)
			}
			n++
		}
		if err := r.c.Submit(batch); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		r.broker.sent = nil
	}
}
