package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

const (
	tempsInterface = `{"interface_name":"org.example.Temps","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
		"mappings":[{"endpoint":"/%{room}/temp","type":"double","reliability":"guaranteed"}]}`
	propsInterface = `{"interface_name":"org.example.Props","version_major":1,"version_minor":0,"type":"properties","ownership":"device",
		"mappings":[{"endpoint":"/name","type":"string"}]}`
)

// cmdDevice is the command "device ID VALUE...": it has a device of Astarte register at the hub of the default folder,
// connect and send the values; all of them are on disk when it returns. The connection stays until the script ends or
// the hub closes it, which "device-closed" waits for.
func cmdDevice(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(defaultDataDir)
	state, err := hub.ReadState(dir)
	ts.Check(err)
	vars, err := state.Env(dir, "astarte")
	ts.Check(err)
	d := &astarteDevice{vars: vars, broker: strings.TrimPrefix(state.MQTT, "mqtts://"), realm: vars["ASTARTE_REALM"], id: args[0]}
	ts.Check(d.connect())
	ts.Defer(func() { d.conn.Close() })
	for _, v := range args[1:] {
		f, err := strconv.ParseFloat(v, 64)
		ts.Check(err)
		doc, mark := astartewire.BeginDocument(nil)
		ts.Check(d.publish("/org.example.Temps/room1/temp", astartewire.EndDocument(astartewire.AppendDouble(doc, "v", f), mark)))
	}
	doc, mark := astartewire.BeginDocument(nil)
	ts.Check(d.publish("/org.example.Props/name", astartewire.EndDocument(astartewire.AppendString(doc, "v", "pump"), mark)))
	devices.Store(ts, d)
}

// devices holds the device of each script that has one.
var devices sync.Map

// cmdDeviceClosed is the command "device-closed".
func cmdDeviceClosed(ts *testscript.TestScript, _ bool, _ []string) {
	v, ok := devices.Load(ts)
	if !ok {
		ts.Fatalf("there is no device")
	}
	d := v.(*astarteDevice)
	_ = d.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := d.conn.Read(make([]byte, 100)); err == nil || os.IsTimeout(err) {
		ts.Fatalf("the connection is open: %v", err)
	}
}

// An astarteDevice is just enough of a device.
type astarteDevice struct {
	vars      map[string]string
	broker    string
	realm, id string
	http      *http.Client
	tls       *tls.Config
	conn      *tls.Conn
}

func (d *astarteDevice) connect() error {
	root, err := os.ReadFile(d.vars["FAIRLEAD_CA"])
	if err != nil {
		return err
	}
	d.tls = &tls.Config{RootCAs: x509.NewCertPool()}
	d.tls.RootCAs.AppendCertsFromPEM(root)
	d.http = &http.Client{Transport: &http.Transport{TLSClientConfig: d.tls.Clone()}}
	defer d.http.CloseIdleConnections()
	if err := d.enrol(); err != nil {
		return err
	}
	if d.conn, err = tls.Dial("tcp", d.broker, d.tls); err != nil {
		return err
	}
	// CONNECT of MQTT 3.1.1 with a clean session and no client id.
	if err := d.exchange([]byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0}); err != nil {
		return err
	}
	return d.publish("", []byte("org.example.Props:1:0;org.example.Temps:1:0"))
}

// enrol installs the interfaces, registers the device and gets it a certificate.
func (d *astarteDevice) enrol() error {
	text, err := os.ReadFile(d.vars["ASTARTE_REALM_PRIVATE_KEY"])
	if err != nil {
		return err
	}
	key, err := jwt.ParseECPrivateKeyFromPEM(text)
	if err != nil {
		return err
	}
	all := []string{".*::.*"}
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"a_pa": all, "a_rma": all}).SignedString(key)
	if err != nil {
		return err
	}
	for _, i := range []string{tempsInterface, propsInterface} {
		at := d.vars["ASTARTE_REALM_MANAGEMENT_URL"] + "/v1/" + d.realm + "/interfaces"
		if err := d.post(at, token, json.RawMessage(i), nil); err != nil && !strings.Contains(err.Error(), "409") {
			return err
		}
	}
	pairing := d.vars["ASTARTE_PAIRING_URL"] + "/v1/" + d.realm
	var registered struct {
		Secret string `json:"credentials_secret"`
	}
	if err := d.post(pairing+"/agent/devices", token, map[string]string{"hw_id": d.id}, &registered); err != nil {
		return err
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: d.realm + "/" + d.id}}, own)
	if err != nil {
		return err
	}
	var issued struct {
		Certificate string `json:"client_crt"`
	}
	body := map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}
	if err := d.post(pairing+"/devices/"+d.id+"/protocols/astarte_mqtt_v1/credentials", registered.Secret, body, &issued); err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(issued.Certificate))
	d.tls.Certificates = []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: own}}
	return nil
}

func (d *astarteDevice) post(at, token string, body, out any) error {
	text, err := json.Marshal(map[string]any{"data": body})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, at, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusCreated {
		return fmt.Errorf("POST %s: %d %s, %v", at, res.StatusCode, answer, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, &struct{ Data any }{out})
}

// publish sends with QoS 1 and waits for the acknowledgement.
func (d *astarteDevice) publish(path string, payload []byte) error {
	topic := d.realm + "/" + d.id + path
	b := binary.AppendUvarint([]byte{0x32}, uint64(2+len(topic)+2+len(payload)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	b = append(b, 0, 1) // packet identifier
	return d.exchange(append(b, payload...))
}

// exchange sends a packet and reads its acknowledgement: CONNACK and PUBACK both have four bytes.
func (d *astarteDevice) exchange(packet []byte) error {
	_ = d.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := d.conn.Write(packet); err != nil {
		return err
	}
	_, err := io.ReadFull(d.conn, make([]byte, 4))
	return err
}
