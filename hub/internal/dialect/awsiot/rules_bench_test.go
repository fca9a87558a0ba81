package awsiot

import (
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/hub/internal/feed"
)

// benchRules returns the rules of a connection with a usual policy.
func benchRules(b *testing.B) *rules {
	b.Helper()
	a := account{ID: "123456789012", Region: DefaultRegion}
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` +
		`{"Effect":"Allow","Action":"iot:Connect","Resource":"` + a.arn("client/${iot:ClientId}") + `"},` +
		`{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"` + a.arn("topic/${iot:ClientId}/*") + `"},` +
		`{"Effect":"Allow","Action":"iot:Subscribe","Resource":"` + a.arn("topicfilter/${iot:ClientId}/*") + `"}]}`))
	if err != nil {
		b.Fatal(err)
	}
	slot := &policySlot{name: "p"}
	slot.cur.Store(doc)
	r := &rules{arn: a.arn(""), standing: &standing{}}
	r.papers.Store(&papers{policies: []*policySlot{slot}, values: values{clientID: "pump-7"}})
	return r
}

// BenchmarkRules is what policies cost: once for each topic that a connection publishes to, and for each message.
func BenchmarkRules(b *testing.B) {
	r := benchRules(b)
	b.Run("new topic", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if r.Publish("pump-7/room/temp", false) != nil {
				b.Fatal("not allowed")
			}
		}
	})
	b.Run("known topic", func(b *testing.B) { // all that the broker asks then
		b.ReportAllocs()
		var rules core.Rules = r
		for b.Loop() {
			if rules.Version() != 0 {
				b.Fatal("changed")
			}
		}
	})
	b.Run("delivery", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !r.Receive("pump-7/room/temp") {
				b.Fatal("not allowed")
			}
		}
	})
}

// BenchmarkReceive is what a message costs here: compare it with BenchmarkPut of package feed, which is the same for plain
// MQTT.
func BenchmarkReceive(b *testing.B) {
	f := feed.New(feed.Config{Now: time.Now})
	l := &link{d: &Dialect{}, sender: &sender{}, line: f.Line(core.DeviceKey{}, 1)}
	t := &dialect.Topic{Name: "pump-7/room/temp", Aux: &subject{channel: feed.Unstored}}
	var batch commit.Batch
	p := []byte("21.5")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			batch.Reset()
		}
		if err := l.Receive(t, dialect.Publish{Payload: p, QoS: 1}, &batch); err != nil {
			b.Fatal(err)
		}
	}
}
