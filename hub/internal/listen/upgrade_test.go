package listen

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// Whatever a client asks for, the answer has no more lines than it should, and nothing panics.
func FuzzUpgradeRequest(f *testing.F) {
	f.Add(upgradeRequest("/mqtt?a=b", longKey, "Sec-WebSocket-Protocol: mqttv3.1", "Origin: https://hub.example.org"))
	f.Add(upgradeRequest("/", shortKey, "Sec-WebSocket-Protocol: ,a, MQTT ,", "Origin: null", "Cookie: a"))
	f.Add(upgradeRequest("//[::1]", "", "Origin: https://[::1]:x"))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		_ = Asks(r)
		name, none := Offered(r)
		if name != "" && (none || !strings.EqualFold(name, "mqtt") && !strings.EqualFold(name, oldProtocol)) {
			t.Errorf("offered %q, none %v", name, none)
		}
		if key, err := check(r); err == nil && (key == "" || len(key) > maxKey) {
			t.Errorf("key %q", key)
		}
		web := request(r)
		if web.CrossOrigin && (web.Header["Cookie"] != nil || web.Header["Authorization"] != nil) {
			t.Errorf("got %+v", web)
		}
		if len(r.Header["Origin"]) == 0 && web.CrossOrigin {
			t.Error("a program counts as a page")
		}
	})
}
