package awswire

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A vector is one entry of testdata/vectors/aws.
type vector struct {
	Name, What, Transport string
	Decoded               json.RawMessage
}

// A request is what a vector decodes to where it is a PUBLISH or a SUBSCRIBE.
type request struct {
	Packet      string
	Topic       string
	PayloadText string
	Filters     []any
}

func loadVectors(tb testing.TB, file string) map[string]request {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "vectors", "aws", file))
	if err != nil {
		tb.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(b, &list); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	m := map[string]request{}
	for _, v := range list {
		var r request
		if json.Unmarshal(v.Decoded, &r) == nil {
			m[v.Name] = r
		}
	}
	return m
}

// TestVectors reads what the official clients send: every topic is one that we know, and every request one that we accept.
func TestVectors(t *testing.T) {
	for _, file := range []string{"shadow-requests.json", "jobs-requests.json", "identity-requests.json"} {
		requests := 0
		for name, r := range loadVectors(t, file) {
			var topics []string
			for _, f := range r.Filters {
				switch f := f.(type) {
				case string:
					topics = append(topics, f)
				case []any:
					topics = append(topics, f[0].(string))
				}
			}
			for _, topic := range topics {
				if strings.ContainsAny(topic, "+#") {
					continue
				}
				got, ok := ParseTopic(topic)
				if !ok || got.Op == "" || got.IsRequest() || got.String() != topic {
					t.Errorf("%s: %s is read as %+v, %v", name, topic, got, ok)
				}
			}
			if r.Packet != "PUBLISH" || !strings.HasPrefix(r.Topic, "$aws/") {
				continue
			}
			requests++
			got, ok := ParseTopic(r.Topic)
			if !ok || !got.IsRequest() {
				t.Errorf("%s: %s is read as %+v, %v", name, r.Topic, got, ok)
				continue
			}
			// The v1 SDK sends an update without a status if its program has none.
			if err := parseRequest(got, r.PayloadText); (err != nil) != (got.Op == OpUpdate && r.PayloadText == "") {
				t.Errorf("%s: %s %s: %v", name, r.Topic, r.PayloadText, err)
			}
		}
		if requests < 5 {
			t.Errorf("%s: %d requests", file, requests)
		}
	}
}

func parseRequest(t Topic, payload string) (err error) {
	switch {
	case t.Service == ServiceShadow && t.Op == OpUpdate:
		_, err = ParseUpdate([]byte(payload))
	case t.Service == ServiceShadow:
		_, err = ParseToken([]byte(payload))
	case t.Service == ServiceJobs:
		_, err = ParseJobRequest(t.Op, []byte(payload))
	case t.Op == OpCreateFromCSR:
		err = json.Unmarshal([]byte(payload), new(CSRRequest))
	case t.Op == OpProvision:
		err = json.Unmarshal([]byte(payload), new(ProvisionRequest))
	}
	return err
}
