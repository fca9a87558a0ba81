package awsiot

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/netip"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// refuseUpgrade answers a request for a WebSocket whose signature is wrong. (AWS IoT guide, "Device communication protocols":
// 403, with an error of the data plane's form.)
func (d *Dialect) refuseUpgrade(w http.ResponseWriter, r *http.Request, why error) {
	status, kind, text := http.StatusForbidden, "ForbiddenException", "Forbidden"
	if errors.Is(why, core.ErrStorage) || errors.Is(why, core.ErrStopping) {
		status, kind, text = http.StatusServiceUnavailable, "ServiceUnavailableException", "Service unavailable"
	} else if d.cfg.Refused != nil {
		remote, _ := netip.ParseAddrPort(r.RemoteAddr)
		d.cfg.Refused(core.Refusal{
			Stage: core.StageHTTP, Claim: core.Claim{Remote: remote, ServerName: r.Host, Path: r.URL.Path}, TLS: r.TLS, Code: "HTTP 403",
			Device: core.DeviceKey{Dialect: Name}, Err: &core.HelpError{
				Text: "WebSocket request: " + why.Error(),
				Help: "Compare access key, secret, region and the clock of the client; `fairlead env aws` prints those for development.",
				Err:  core.ErrUnauthenticated,
			},
		})
	}
	body, _ := json.Marshal(map[string]string{"message": text, "traceId": newUUID()})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("x-amzn-ErrorType", kind)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away needs no answer
}

// pemOf returns a certificate in PEM.
func pemOf(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }

// AdviseGrant implements dialect.Adviser.
func (d *Dialect) AdviseGrant(k core.DeviceKey) string {
	return "See what the policies of the device's certificate say: `aws iot get-effective-policies --principal ARN --thing-name " + string(k.ID) + "`, and `aws iot test-authorization`."
}
