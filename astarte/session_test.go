package astarte

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/google/go-cmp/cmp"
)

// peer plays Astarte: Pairing, and a broker that answers everything and writes down what it gets.
type peer struct {
	t         *testing.T
	authority *authority
	pairing   *httptest.Server
	listener  *memnet.Listener
	tls       *tls.Config

	mu       sync.Mutex
	life     time.Duration // of the next certificate; those after it live for an hour
	valid    bool          // what verify says
	present  bool          // what CONNACK says
	refuse   byte          // likewise, once
	requests []string
	conn     net.Conn
	serial   *big.Int // of the client's certificate

	turn    sync.Mutex // held by the connection that is served: what one has sent comes before what the next one sends
	packets chan mqtt.Packet
	acked   chan uint16 // PUBREL and PUBACK of the client
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, authority: newAuthority(t), life: time.Hour, valid: true, packets: make(chan mqtt.Packet, 1000), acked: make(chan uint16, 1000)}
	p.listener = memnet.Listen("broker.test:8883")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"broker.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, p.authority.cert, key.Public(), p.authority.key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(p.authority.cert)
	p.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert}
	p.pairing = httptest.NewServer(http.HandlerFunc(p.serveHTTP))
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			nc, err := p.listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { p.serve(tls.Server(nc, p.tls)) })
		}
	})
	t.Cleanup(func() {
		p.pairing.Close()
		_ = p.listener.Close()
		p.hangUp()
		connections.Wait()
	})
	return p
}

func (p *peer) serveHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var in struct{ Data struct{ CSR string } }
	b, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(b, &in)
	what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	p.requests = append(p.requests, what)
	var answer any
	switch what {
	case "credentials":
		p.valid = true
		w.WriteHeader(http.StatusCreated)
		answer = data("client_crt", p.authority.signCSR(p.t, in.Data.CSR, "test/"+device, p.life))
		p.life = time.Hour
	case "verify":
		answer = data("valid", p.valid, "cause", "EXPIRED")
	default:
		answer = data("version", "1", "status", "confirmed", "protocols", map[string]any{"astarte_mqtt_v1": map[string]any{"broker_url": "mqtts://broker.test:8883/"}})
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (p *peer) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.requests
	p.requests = nil
	return all
}

func (p *peer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

// send sends a packet to the device.
func (p *peer) send(packet mqtt.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.conn.Write(packet.Append(nil, mqtt.V311)) // the test may have hung up
}

func (p *peer) serve(nc *tls.Conn) {
	defer nc.Close()
	p.turn.Lock()
	defer p.turn.Unlock()
	if err := nc.Handshake(); err != nil {
		return
	}
	p.mu.Lock()
	p.conn, p.serial = nc, nc.ConnectionState().PeerCertificates[0].SerialNumber
	present, refuse := p.present, p.refuse
	p.refuse = 0
	p.mu.Unlock()
	frames := mqtt.NewFrameReader(bufio.NewReader(nc), 1<<20)
	for {
		f, err := frames.Next()
		if err != nil {
			return
		}
		var in mqtt.Packet
		var out mqtt.Packet
		switch f.Type {
		case mqtt.TypeConnect:
			in, out = &mqtt.Connect{}, &mqtt.ConnAck{SessionPresent: present, Code: refuse}
			if refuse != 0 {
				out = &mqtt.ConnAck{Code: refuse}
			}
		case mqtt.TypeSubscribe:
			in = &mqtt.Subscribe{}
		case mqtt.TypeUnsubscribe:
			in = &mqtt.Unsubscribe{}
		case mqtt.TypePublish:
			in = &mqtt.Publish{}
		case mqtt.TypeDisconnect:
			in = &mqtt.Disconnect{}
		case mqtt.TypePingReq:
			in, out = &mqtt.PingReq{}, &mqtt.PingResp{}
		default:
			in = &mqtt.Ack{}
		}
		if err := in.Decode(mqtt.Frame{Type: f.Type, Flags: f.Flags, Body: slices.Clone(f.Body)}, mqtt.V311); err != nil {
			p.t.Errorf("peer: %v: %v", f.Type, err)
			return
		}
		switch q := in.(type) {
		case *mqtt.Subscribe:
			out = &mqtt.SubAck{ID: q.ID, Codes: slices.Repeat([]byte{2}, len(q.Subscriptions))}
		case *mqtt.Unsubscribe:
			out = &mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: q.ID}
		case *mqtt.Publish:
			switch q.QoS {
			case 1:
				out = &mqtt.Ack{Type: mqtt.TypePubAck, ID: q.ID}
			case 2:
				out = &mqtt.Ack{Type: mqtt.TypePubRec, ID: q.ID}
			}
		case *mqtt.Ack:
			switch q.Type {
			case mqtt.TypePubRel:
				out = &mqtt.Ack{Type: mqtt.TypePubComp, ID: q.ID}
			case mqtt.TypePubRec:
				out = &mqtt.Ack{Type: mqtt.TypePubRel, ID: q.ID}
			case mqtt.TypePubAck, mqtt.TypePubComp:
				p.acked <- q.ID
			}
		}
		if _, ok := in.(*mqtt.Ack); !ok {
			p.packets <- in
		}
		if out != nil {
			p.send(out)
		}
	}
}

// next returns the next packet of the device, acknowledgements and pings left out.
func (p *peer) next(t *testing.T) mqtt.Packet {
	t.Helper()
	for {
		select {
		case q := <-p.packets:
			if _, ok := q.(*mqtt.PingReq); !ok {
				return q
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the device sends nothing")
		}
	}
}

// publish returns the next packet, which has to be a PUBLISH, and its topic behind the device's own.
func (p *peer) publish(t *testing.T) (string, *mqtt.Publish) {
	t.Helper()
	q := p.next(t)
	m, ok := q.(*mqtt.Publish)
	if !ok {
		t.Fatalf("got %#v, want a PUBLISH", q)
	}
	return strings.TrimPrefix(string(m.Topic), "test/"+device), m
}

// handshake expects a device to tell everything, and returns it by topic, and the filters.
func (p *peer) handshake(t *testing.T) (published map[string][]byte, order, filters []string, connect *mqtt.Connect) {
	t.Helper()
	first := p.next(t)
	connect, ok := first.(*mqtt.Connect)
	if !ok {
		t.Fatalf("got %#v, want CONNECT", first)
	}
	published = map[string][]byte{}
	for {
		switch q := p.next(t).(type) {
		case *mqtt.Subscribe:
			if len(order) > 0 {
				t.Error("SUBSCRIBE after PUBLISH")
			}
			for _, s := range q.Subscriptions {
				filters = append(filters, fmt.Sprintf("%s %d", s.Filter, s.QoS))
			}
		case *mqtt.Publish:
			topic := strings.TrimPrefix(string(q.Topic), "test/"+device)
			if q.QoS != 2 || q.Retain {
				t.Errorf("%s: QoS %d, retain %v", topic, q.QoS, q.Retain)
			}
			published[topic] = q.Payload
			order = append(order, topic)
			if topic == "/control/producer/properties" {
				slices.Sort(filters)
				return published, order, filters, connect
			}
		default:
			t.Fatalf("got %#v", q)
		}
	}
}

func (p *peer) config(t *testing.T, interfaces ...*Interface) Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(p.authority.cert)
	return Config{
		PairingURL: p.pairing.URL + "/pairing", Realm: "test", DeviceID: device, CredentialsSecret: secret, Dir: filepath.Join(t.TempDir(), "dir"), Interfaces: interfaces,
		RootCAs: roots, HTTP: p.pairing.Client(), MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.listener.Dial(ctx) },
	}
}

func runDevice(t *testing.T, cfg Config) (*Device, func()) {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		_ = d.Close()
	})
	return d, stop
}

// packetsOf returns the packets of an exchange of the official SDK.
func packetsOf(t *testing.T, prefix string) (published map[string][]byte, filters []string) {
	t.Helper()
	published = map[string][]byte{}
	for _, v := range loadVectors(t, "session.json") {
		if !strings.HasPrefix(v.Name, prefix) || v.Hex == "" {
			continue
		}
		f, err := mqtt.NewFrameReader(bufio.NewReader(strings.NewReader(string(v.bytes(t)))), 1<<20).Next()
		if err != nil {
			t.Fatal(err)
		}
		switch f.Type {
		case mqtt.TypeSubscribe:
			var s mqtt.Subscribe
			if err := s.Decode(f, mqtt.V311); err != nil {
				t.Fatal(err)
			}
			filters = append(filters, fmt.Sprintf("%s %d", s.Subscriptions[0].Filter, s.Subscriptions[0].QoS))
		case mqtt.TypePublish:
			var m mqtt.Publish
			if err := m.Decode(f, mqtt.V311); err != nil {
				t.Fatal(err)
			}
			published[strings.TrimPrefix(string(m.Topic), "test/"+device)] = slices.Clone(m.Payload)
		}
	}
	slices.Sort(filters)
	return published, filters
}

// declared returns the capture's interfaces that an introspection names.
func declared(t *testing.T, introspection []byte) []*Interface {
	t.Helper()
	versions, err := astartewire.ParseIntrospection(introspection)
	if err != nil {
		t.Fatal(err)
	}
	in := capture(t)
	var all []*Interface
	for name := range versions {
		if in[name] == nil {
			t.Fatalf("the capture declares %s", name)
		}
		all = append(all, in[name])
	}
	return all
}

// TestHandshakeVectors compares what a new session begins with to what the official SDK sends.
func TestHandshakeVectors(t *testing.T) {
	want, wantFilters := packetsOf(t, "first_connect_")
	p := newPeer(t)
	cfg := p.config(t, declared(t, want[""])...)
	d, stop := runDevice(t, cfg)
	got, order, filters, connect := p.handshake(t)
	if diff := cmp.Diff(wantFilters, filters); diff != "" {
		t.Errorf("SUBSCRIBE: %s", diff)
	}
	items := func(b []byte) []string {
		list := strings.Split(string(b), ";")
		slices.Sort(list) // their order means nothing
		return list
	}
	if diff := cmp.Diff(items(want[""]), items(got[""])); diff != "" {
		t.Errorf("introspection: %s", diff)
	}
	delete(want, "")
	delete(got, "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other messages: %s", diff)
	}
	if !slices.Equal(order, []string{"", "/control/emptyCache", "/control/producer/properties"}) {
		t.Errorf("order: %q", order)
	}
	// On purpose unlike the official SDK: a session that outlives the connection.
	if connect.ClientID != "test/"+device || connect.CleanStart || connect.KeepAlive != 60 || connect.Version != mqtt.V311 || connect.HasUsername || connect.Will != nil {
		t.Errorf("CONNECT: %+v", connect)
	}
	if got := p.asked(); !slices.Equal(got, []string{"credentials", device}) {
		t.Errorf("asked Pairing for %q", got)
	}
	// A property that is unset, as that SDK does it.
	for _, v := range loadVectors(t, "bson.json") {
		if v.Name != "unset" {
			continue
		}
		if err := d.UnsetProperty(t.Context(), "org.example.capture.Props", "/integer_endpoint"); err != nil {
			t.Fatal(err)
		}
		var decoded struct{ Topic string }
		v.decode(t, &decoded)
		topic, m := p.publish(t)
		if "test/"+device+topic != decoded.Topic || len(m.Payload) != 0 || m.QoS != 2 {
			t.Errorf("unset: %s %x", topic, m.Payload)
		}
	}
	stop()
	if _, ok := p.next(t).(*mqtt.Disconnect); !ok {
		t.Error("no DISCONNECT")
	}
}

// TestResume: a session that Astarte still has is not begun anew; one that it has lost is, with the properties and their list.
func TestResume(t *testing.T) {
	p := newPeer(t)
	in := capture(t)
	states := make(chan Connection, 100)
	cfg := p.config(t, in["org.example.capture.Props"], in["org.example.capture.ServerProps"])
	cfg.OnConnection = func(c Connection) { states <- c }
	d, _ := runDevice(t, cfg)
	p.handshake(t)
	await := func(present bool) {
		t.Helper()
		for c := range states {
			if c.State == Connected {
				if c.SessionPresent != present {
					t.Errorf("got %+v", c)
				}
				return
			}
		}
	}
	await(false)
	ctx := t.Context()
	set := func(path string, v any) {
		t.Helper()
		if err := d.SetProperty(ctx, "org.example.capture.Props", path, v); err != nil {
			t.Fatal(err)
		}
	}
	set("/integer_endpoint", 7)
	if topic, m := p.publish(t); topic != "/org.example.capture.Props/integer_endpoint" || len(m.Payload) != 12 {
		t.Errorf("got %s %x", topic, m.Payload)
	}
	if err := d.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.present = true
	p.mu.Unlock()
	p.hangUp()
	if _, ok := p.next(t).(*mqtt.Connect); !ok {
		t.Fatal("no CONNECT")
	}
	await(true)
	set("/boolean_endpoint", false)
	if topic, _ := p.publish(t); topic != "/org.example.capture.Props/boolean_endpoint" { // nothing else was sent
		t.Errorf("got %s", topic)
	}
	if err := d.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.present = false
	p.mu.Unlock()
	p.hangUp()
	published, order, filters, _ := p.handshake(t)
	if len(filters) != 2 || !slices.Equal(order, []string{
		"", "/control/emptyCache", "/org.example.capture.Props/boolean_endpoint", "/org.example.capture.Props/integer_endpoint", "/control/producer/properties",
	}) {
		t.Errorf("got %q, %q", filters, order)
	}
	list, err := astartewire.ParsePurgeList(published["/control/producer/properties"])
	if err != nil || !slices.Equal(list, []string{"org.example.capture.Props/boolean_endpoint", "org.example.capture.Props/integer_endpoint"}) {
		t.Errorf("got %q, %v", list, err)
	}
	if h := binary.BigEndian.Uint32(published["/control/producer/properties"]); int(h) != len(strings.Join(list, ";")) {
		t.Errorf("header: %d", h)
	}
}

// TestDownlinkVectors receives what was sent to the official SDK. Where that one handed data to the program so do we; the names in
// differs are where we are better, or the platform never sends such a thing.
func TestDownlinkVectors(t *testing.T) {
	differs := map[string]bool{
		"double_as_int32": true, // taken: the platform may send it
		// Refused: it is not what the mapping says. That SDK does not check what Python takes for false.
		"integer_zero_as_string": false,
		"bson_trailing":          false, "bson_type_11": false,
		"param_1": true, "param_a-b": true, "param_ä": true, "param_a b": true, // any text is a level
		"object_null_member": true, // without that member
	}
	p := newPeer(t)
	in := capture(t)
	received := make(chan Data, 100)
	cfg := p.config(t, in.All()...)
	cfg.OnData = func(d Data) { received <- d }
	runDevice(t, cfg)
	p.handshake(t)
	// What nobody has a callback for is followed by a message that comes back at once.
	mark := func(id uint16) {
		p.send(&mqtt.Publish{QoS: 1, ID: id, Topic: []byte("test/" + device + "/org.example.capture.Param/mark/v"), Payload: []byte("\x0e\x00\x00\x00\x02v\x00\x02\x00\x00\x00x\x00\x00")})
	}
	n := 0
	for k, v := range loadVectors(t, "downlink.json") {
		var decoded struct {
			Topic    string
			Callback *struct {
				Interface, Path string
				Value           any
			}
		}
		if json.Unmarshal(v.Decoded, &decoded) != nil || decoded.Topic == "" {
			continue // rows of that SDK's database
		}
		n++
		id := uint16(2*k + 1)
		p.send(&mqtt.Publish{QoS: 2, ID: id, Topic: []byte(decoded.Topic), Payload: v.bytes(t)})
		mark(id + 1)
		for range 2 { // everything is acknowledged, whatever it is
			select {
			case <-p.acked:
			case <-time.After(30 * time.Second):
				t.Fatalf("%s: not acknowledged", v.Name)
			}
		}
		var got *Data
		first := <-received
		if first.Path != "/mark/v" {
			got = &first
			<-received
		}
		want := decoded.Callback != nil
		if d, ok := differs[v.Name]; ok {
			want = d
		}
		if want != (got != nil) {
			t.Errorf("%s (%s): got %+v, want a callback: %v", v.Name, v.What, got, want)
		}
		if got != nil && decoded.Callback != nil {
			if got.Interface != decoded.Callback.Interface || got.Path != decoded.Callback.Path || !same(got.Value, decoded.Callback.Value) {
				t.Errorf("%s: got %+v, want %+v", v.Name, got, decoded.Callback)
			}
		}
		if v.Name == "with_timestamp" && (got == nil || got.Time.IsZero()) {
			t.Errorf("%s: got %+v, want a timestamp", v.Name, got)
		}
	}
	if n < 50 {
		t.Errorf("only %d vectors", n)
	}
}

// same compares a value with how the vectors write it down.
func same(got, want any) bool {
	switch g := got.(type) {
	case nil:
		return want == nil
	case Object:
		w, ok := want.(map[string]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for k, v := range g {
			if !same(v, w[k]) {
				return false
			}
		}
		return true
	case float64:
		return want == fmt.Sprintf("float %v", g) || want == fmt.Sprintf("float %.1f", g)
	case int32:
		return want == float64(g)
	case int64:
		return want == float64(g)
	case bool, string:
		return want == got
	case []byte:
		return want == fmt.Sprintf("bytes %x", g)
	case time.Time:
		return want == "datetime "+g.Format("2006-01-02T15:04:05+00:00")
	case []float64:
		return sameList(g, want)
	case []int32:
		return sameList(g, want)
	case []int64:
		return sameList(g, want)
	case []bool:
		return sameList(g, want)
	case []string:
		return sameList(g, want)
	case [][]byte:
		return sameList(g, want)
	case []time.Time:
		return sameList(g, want)
	}
	return false
}

func sameList[T any](got []T, want any) bool {
	list, ok := want.([]any)
	if !ok || len(list) != len(got) {
		return false
	}
	for i := range got {
		if !same(got[i], list[i]) {
			return false
		}
	}
	return true
}

// TestPropertyVectors: Astarte's list deletes what is not in it, of Astarte's own properties only; one that cannot be read deletes nothing.
func TestPropertyVectors(t *testing.T) {
	for _, v := range loadVectors(t, "properties.json") {
		if !strings.HasPrefix(v.Name, "consumer_") {
			list, err := astartewire.ParsePurgeList(v.bytes(t))
			if err != nil || len(list) != 13 {
				t.Errorf("%s: got %q, %v", v.Name, list, err)
			}
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			p := newPeer(t)
			in := capture(t)
			cfg := p.config(t, in["org.example.capture.DevProps"], in["org.example.capture.ServerProps"])
			d, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			ctx := t.Context()
			if err := d.SetProperty(ctx, "org.example.capture.DevProps", "/a", 9); err != nil {
				t.Fatal(err)
			}
			for path, payload := range map[string]string{
				"/string_endpoint":  "\x10\x00\x00\x00\x02v\x00\x04\x00\x00\x00one\x00\x00",
				"/integer_endpoint": "\x0c\x00\x00\x00\x10v\x00\x02\x00\x00\x00\x00",
			} {
				if _, err := d.accept(ctx, "org.example.capture.ServerProps", path, []byte(payload)); err != nil {
					t.Fatal(err)
				}
			}
			var decoded struct {
				Rows [][]any `json:"rows_after"`
				Died string  `json:"network_thread_died_of"`
			}
			v.decode(t, &decoded)
			err = d.purge(ctx, v.bytes(t))
			all, e := d.Properties(ctx)
			if e != nil {
				t.Fatal(e)
			}
			rows := [][]any{}
			for _, p := range all {
				value := p.Value
				if n, ok := value.(int32); ok {
					value = float64(n)
				}
				rows = append(rows, []any{p.Interface, float64(p.Major), p.Path, value})
			}
			switch {
			case v.Name == "consumer_properties_plain":
				if err == nil || len(rows) != 3 {
					t.Errorf("got %v, %v, want nothing deleted", rows, err)
				}
			case err != nil || !cmp.Equal(rows, decoded.Rows):
				t.Errorf("got %v, %v, want %v", rows, err, decoded.Rows)
			}
		})
	}
}

// TestCertificates: a certificate is renewed in time, and when Astarte does not accept it any more; not for other reasons.
func TestCertificates(t *testing.T) {
	p := newPeer(t)
	cfg := p.config(t)
	if os.Getenv("ASTARTE_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	_, stop := runDevice(t, cfg)
	p.handshake(t)
	p.asked()
	serial := func() *big.Int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.serial
	}
	first := serial()
	p.hangUp()
	p.handshake(t)
	if got := p.asked(); len(got) != 0 || serial().Cmp(first) != 0 {
		t.Errorf("after a lost connection: asked %q, serial %v, %v", got, first, serial())
	}
	// Refused, though the certificate is good: Pairing is asked.
	p.mu.Lock()
	p.refuse = mqtt.ConnAckNotAuthorized
	p.mu.Unlock()
	p.hangUp()
	p.next(t) // CONNECT
	p.handshake(t)
	if got := p.asked(); !slices.Contains(got, "verify") || slices.Contains(got, "credentials") || serial().Cmp(first) != 0 {
		t.Errorf("after a refusal: asked %q", got)
	}
	// Refused, and it is bad. The next one lives short, so it is renewed at once; the sign that it is a renewal is DISCONNECT.
	p.mu.Lock()
	p.refuse, p.valid, p.life = mqtt.ConnAckNotAuthorized, false, 3*time.Second
	p.mu.Unlock()
	p.hangUp()
	p.next(t)
	p.handshake(t)
	if q, ok := p.next(t).(*mqtt.Disconnect); !ok {
		t.Errorf("got %#v, want DISCONNECT", q)
	}
	p.handshake(t)
	asked := slices.DeleteFunc(p.asked(), func(what string) bool { return what == device })
	if !slices.Equal(asked, []string{"verify", "credentials", "credentials"}) || serial().Cmp(first) == 0 {
		t.Errorf("after a bad certificate, and a renewal: asked %q", asked)
	}
	last := serial()
	stop()
	p.next(t)
	// The next process finds it.
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.creds.Load()
	if err != nil || id.Certificate().SerialNumber.Cmp(last) != 0 {
		t.Errorf("got %v", err)
	}
}
