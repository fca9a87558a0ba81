package awsiot

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

func TestPublishOverHTTP(t *testing.T) {
	g := newHTTPRig(t)
	user := base64.StdEncoding.EncodeToString([]byte(`[{"k":"v"},{"k":"w"}]`))
	quoted := base64.StdEncoding.EncodeToString([]byte(`"[{\"k\":\"v\"}]"`)) // boto3, when its caller hands over JSON
	long := base64.StdEncoding.EncodeToString([]byte(`[{"k":"` + strings.Repeat("\xff", 30_000) + `"}]`))
	g.tell(
		step{do: "POST /topics/a%2Fb?qos=1", service: serviceData, body: "hi", has: []string{`"message":"OK"`, `"traceId"`}},
		step{do: "POST /topics/a/b/c", service: serviceGateway, body: "raw"},
		step{do: "POST /topics/%24aws%2Frules%2Fr%2Fx", service: serviceData, body: "ingest"},
		step{do: "POST /topics/%24aws%2Fthings%2Ft%2Fshadow%2Fupdate", service: serviceData, body: `{"state":{"desired":{"x":1}}}`},
		step{do: "GET /things/t/shadow", service: serviceData, has: []string{`"desired":{"x":1}`}},
		step{do: "POST /topics/p?contentType=text%2Fplain&responseTopic=r&messageExpiry=60", service: serviceData, body: "x", header: map[string]string{
			"x-amz-mqtt5-user-properties": user, "x-amz-mqtt5-payload-format-indicator": "UTF8_DATA", "x-amz-mqtt5-correlation-data": "YQ==",
		}},
		step{do: "POST /topics/p", service: serviceData, body: "x", header: map[string]string{"x-amz-mqtt5-user-properties": quoted}},

		step{do: "POST /topics/a%2F%23", service: serviceData, body: "x", want: invalidRequest},
		step{do: "POST /topics/a?qos=2", service: serviceData, body: "x", want: invalidRequest},
		step{do: "POST /topics/" + strings.Repeat("x", 257), service: serviceData, body: "x", want: invalidRequest},
		step{do: "POST /topics/1/2/3/4/5/6/7/8/9", service: serviceData, body: "x", want: invalidRequest},
		step{do: "POST /topics/%24aws%2Fthings%2Ft%2Fshadow%2Fupdate%2Faccepted", service: serviceData, body: "x", want: invalidRequest},
		step{do: "POST /topics/%24SYS", service: serviceData, body: "x", want: invalidRequest},
		step{do: "POST /topics/a", service: serviceData, body: strings.Repeat("x", maxPayloadBytes+1), want: tooLarge},
		step{do: "POST /topics/a", service: serviceData, body: "x", header: map[string]string{"x-amz-mqtt5-user-properties": "!"}, want: invalidRequest},
		// Bytes that are no UTF-8 become three each when JSON is read: more than MQTT can say the length of.
		step{do: "POST /topics/a", service: serviceData, body: "x", header: map[string]string{"x-amz-mqtt5-user-properties": long}, want: invalidRequest},
		step{do: "POST /topics/a", service: serviceData, body: "x", header: map[string]string{"x-amz-mqtt5-correlation-data": base64.StdEncoding.EncodeToString(make([]byte, 1<<16))}, want: invalidRequest},
		step{do: "POST /topics/a", service: serviceData, body: "\xff", header: map[string]string{"x-amz-mqtt5-payload-format-indicator": "UTF8_DATA"}, want: invalidRequest},
		step{do: "POST /topics/a?responseTopic=%23", service: serviceData, body: "x", want: invalidRequest},
		step{do: "GET /topics/a", service: serviceData, want: methodNotAllowed},
		step{do: "GET /retainedMessage/a%2Fb", service: serviceData, want: notFound},
		step{do: "GET /retainedMessage", service: serviceData, has: []string{`"retainedTopics":[]`}},
		step{do: "GET /connections/x", service: serviceData, want: notFound},
		step{do: "DELETE /connections/%24x", service: serviceData, want: invalidRequest},
	)
	var topics []string
	for _, s := range g.heard() {
		topics = append(topics, s.Topic)
	}
	got := strings.Join(topics, " ")
	for _, want := range []string{"a/b", "a/b/c", "$aws/things/t/shadow/update", "$aws/things/t/shadow/update/accepted", "$aws/things/t/shadow/update/delta", "p"} {
		if !strings.Contains(" "+got+" ", " "+want+" ") {
			t.Errorf("%s was not published, of %s", want, got)
		}
	}
	if !strings.Contains(got, "$aws/things/t/shadow/update $aws/things/t/shadow/update/delta ") {
		t.Errorf("the request did not come before its answers: %s", got)
	}
	if strings.Contains(got, "rules") {
		t.Errorf("basic ingest was published: %s", got)
	}
}

// TestRetainedOverHTTP shows what is retained, page by page.
func TestRetainedOverHTTP(t *testing.T) {
	g := newHTTPRig(t)
	p := mqtt.MessageProperties{User: []mqtt.UserProperty{{Key: "k", Value: "v"}}}
	g.do(func(tx *commit.Tx) error {
		for _, m := range []core.Message{
			{Topic: "a/b", Payload: []byte("hi"), QoS: 1, Properties: p.Append(nil)},
			{Topic: "c", Payload: []byte{0xff}},
			{Topic: "gone", Payload: []byte("x"), Expires: tx.Now()},
		} {
			if err := tx.PutRetained(testTenant, Name, core.Retained{Message: m, Stored: tx.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	g.tell(
		step{do: "GET /retainedMessage/a%2Fb", service: serviceData, has: []string{`"payload":"aGk="`, `"qos":1`, `"lastModifiedTime":1778051289000`, `"userProperties":"` + base64.StdEncoding.EncodeToString([]byte(`[{"k":"v"}]`))}},
		step{do: "GET /retainedMessage/c", service: serviceData, has: []string{`"payload":"/w=="`}},
		step{do: "GET /retainedMessage/gone", service: serviceData, want: notFound},
		step{do: "GET /retainedMessage?maxResults=1", service: serviceData, has: []string{`"topic":"a/b"`, `"payloadSize":2`}, no: []string{`"c"`}, capture: map[string]string{"next": "nextToken"}},
		step{do: "GET /retainedMessage?maxResults=1&nextToken=${next|path}", service: serviceData, has: []string{`"topic":"c"`}, no: []string{"gone", "nextToken"}},
		step{do: "GET /retainedMessage?maxResults=201", service: serviceData, want: invalidRequest},
	)
}

// certify makes a certificate with a policy and shows it from now on.
func (g *httpRig) certify(document string) {
	g.Helper()
	g.shown = nil
	name := "policy-" + newUUID()
	g.tell(
		step{do: "POST /keys-and-certificate?setAsActive=true", capture: map[string]string{"arn": "certificateArn", "id": "certificateId", "pem": "certificatePem"}},
		step{do: "POST /policies/" + name, body: policyBody(document)},
		step{do: "PUT /target-policies/" + name, body: `{"target":"${arn}"}`},
	)
	block, _ := pem.Decode([]byte(g.values["pem"]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		g.Fatal(err)
	}
	g.shown = leaf
}

// TestCertificatesOverHTTP: a device's certificate opens what its policies say, and nothing of the control plane.
func TestCertificatesOverHTTP(t *testing.T) {
	g := newHTTPRig(t)
	g.certify(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish"],"Resource":"arn:aws:iot:*:*:topic/mine/*"},
		{"Effect":"Deny","Action":"iot:RetainPublish","Resource":"arn:aws:iot:*:*:topic/mine/not"},
		{"Effect":"Allow","Action":["iot:GetThingShadow","iot:UpdateThingShadow"],"Resource":["arn:aws:iot:*:*:thing/t","arn:aws:iot:*:*:thing/t/named"]},
		{"Effect":"Allow","Action":"iot:GetPendingJobExecutions","Resource":"arn:aws:iot:*:*:thing/t"}]}`)
	g.tell(
		step{do: "POST /topics/mine/a?qos=1", body: "x"},
		step{do: "POST /topics/mine/a?retain=true", body: "x"},
		step{do: "POST /topics/mine/not", body: "x"},
		step{do: "POST /topics/mine/not?retain=true", body: "x", want: forbidden},
		step{do: "POST /topics/theirs", body: "x", want: forbidden, has: []string{`"traceId"`}},
		step{do: "POST /things/t/shadow", body: `{"state":{"reported":{"a":1}}}`},
		step{do: "POST /things/t/shadow?name=named", body: `{"state":{"reported":{"a":1}}}`},
		step{do: "GET /things/t/shadow", has: []string{`"reported":{"a":1}`}},
		step{do: "DELETE /things/t/shadow", want: forbidden},
		step{do: "GET /things/t/shadow?name=other", want: forbidden},
		step{do: "GET /things/u/shadow", want: forbidden},
		step{do: "GET /api/things/shadow/ListNamedShadowsForThing/t", want: forbidden},
		step{do: "GET /things/t/jobs", has: []string{"queuedJobs"}},
		step{do: "PUT /things/t/jobs/$next", want: forbidden},
		step{do: "GET /things/t", want: notFound},
		step{do: "DELETE /connections/x", want: forbidden},
	)
	shown := g.shown
	g.shown = nil
	g.tell(step{do: "PUT /certificates/${id}?newStatus=INACTIVE"})
	g.shown = shown
	g.tell(step{do: "POST /topics/mine/a", body: "x", want: forbidden})
	g.shown = nil
	r := httptest.NewRequest(http.MethodPost, "https://hub.example.org/topics/mine/a", strings.NewReader("x"))
	if w := g.send(r); w.Header().Get("x-amzn-ErrorType") != "MissingAuthenticationTokenException" {
		t.Errorf("nobody: %d %s", w.Code, w.Body)
	}
}

// TestDiscovery looks at the bytes of answers: AWSIoTPythonSDK finds the length by its name in lower case.
func TestDiscovery(t *testing.T) {
	g := newHTTPRig(t)
	g.certify(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"greengrass:Discover","Resource":["arn:aws:iot:*:*:thing/pump","arn:aws:iot:*:*:thing/lost"]}]}`)
	g.do(func(tx *commit.Tx) error {
		return putGreengrassGroup(tx, testTenant, greengrassGroup{
			ID: "hall", Devices: []string{"pump"}, Cores: []greengrassCore{{Thing: "core1", Ways: []greengrassWay{{ID: "lan", Host: "192.0.2.1", Port: 8883, Metadata: "m"}}}},
		})
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.shownTo(r)
		g.d.Handler().ServeHTTP(w, r)
	}))
	defer server.Close()
	ask := func(name string) (head, body string) {
		t.Helper()
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /greengrass/discover/thing/"+name+" HTTP/1.1\r\nHost: hub:8443\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(bufio.NewReader(c)) // it ends: the connection is closed
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ = strings.Cut(string(all), "\r\n\r\n")
		return head, body
	}
	head, body := ask("pump") // with a certificate that is attached to nothing, but has the policy
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head, "\r\ncontent-length: ") || !strings.Contains(head, "\r\nx-amzn-requestid: ") {
		t.Errorf("header\n%s", head)
	}
	var out struct {
		GGGroups []struct {
			GGGroupId string
			Cores     []struct {
				ThingArn     string
				Connectivity []map[string]any
			}
			CAs []string
		}
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatal(err, body)
	}
	if len(out.GGGroups) != 1 || out.GGGroups[0].GGGroupId != "hall" || len(out.GGGroups[0].CAs) != 1 || !strings.HasSuffix(out.GGGroups[0].Cores[0].ThingArn, ":thing/core1") {
		t.Errorf("got %s", body)
	}
	if !strings.Contains(body, `{"Id":"lan","HostAddress":"192.0.2.1","PortNumber":8883,"Metadata":"m"}`) {
		t.Errorf("got %s", body)
	}
	for name, want := range map[string]string{"lost": "404 Not Found", "other": "403 Forbidden"} {
		head, body := ask(name)
		if !strings.HasPrefix(head, "HTTP/1.1 "+want) || body == "" || !strings.Contains(head, "\r\ncontent-length: ") {
			t.Errorf("%s: %s\n%s", name, head, body)
		}
	}
}

// shownTo makes a plain request one with the client certificate.
func (g *httpRig) shownTo(r *http.Request) {
	r.TLS = g.request("GET /things", "", "", nil).TLS
}
