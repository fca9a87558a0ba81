package awsiot

import (
	"cmp"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// Who a caller is: what people ask first, to see whether their keys work (`aws sts get-caller-identity`). It is another service
// than IoT, with the older protocol: the action is a parameter, and answers are XML. (AWS STS API reference, "GetCallerIdentity";
// the protocol is "AWS Query" of the Smithy documentation.)

const (
	identityNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	identityVersion   = "2011-06-15"
	// globalRegion is what requests to the service's global endpoint are signed for, wherever the account is.
	globalRegion = "us-east-1"

	invalidAction = "InvalidAction"
)

// An xmlReply is a success of that protocol.
type xmlReply []byte

// asksQuery reports whether a request speaks that protocol, for whatever service.
func asksQuery(r *http.Request) bool {
	if r.URL.EscapedPath() != "/" {
		return false
	}
	form := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	return r.Method == http.MethodPost && form || r.Method == http.MethodGet && strings.Contains(r.URL.RawQuery, "Action=")
}

// answerQuery does a request of that protocol.
func (c *call) answerQuery(sig *sigv4.Signature, req *sigv4.Request) (any, error) {
	if err := c.authenticate(sig, req); err != nil {
		return nil, err
	}
	params := c.r.URL.RawQuery
	if c.r.Method == http.MethodPost {
		params = string(c.body)
	}
	asked, err := url.ParseQuery(params)
	if err != nil {
		return nil, refuse(invalidRequest, "The parameters of the request are malformed.")
	}
	if asked.Get("Action") != "GetCallerIdentity" || asked.Get("Version") != identityVersion {
		return nil, refuse(invalidAction, "Could not find operation %.100s for version %.20s", asked.Get("Action"), asked.Get("Version"))
	}
	type response struct {
		XMLName xml.Name `xml:"GetCallerIdentityResponse"`
		NS      string   `xml:"xmlns,attr"`
		ARN     string   `xml:"GetCallerIdentityResult>Arn"`
		UserID  string   `xml:"GetCallerIdentityResult>UserId"`
		Account string   `xml:"GetCallerIdentityResult>Account"`
		Request string   `xml:"ResponseMetadata>RequestId"`
	}
	who := cmp.Or(c.signer, c.pass)
	body, err := xml.Marshal(response{
		NS: identityNamespace, ARN: who.arn(), UserID: who.userID(), Account: c.account.ID, Request: c.id,
	})
	return xmlReply(body), err
}

// passRole is the role that devices have by what the credentials provider lends them: there are no other roles here.
const passRole = "device"

// arn names the signer as the platform names users: an access key is one, by what it is called. Who has a pass is a session of
// a role, by its certificate.
func (s *signer) arn() string {
	if s.certificate != "" {
		return "arn:aws:sts::" + s.account.ID + ":assumed-role/" + passRole + "/" + s.certificate
	}
	name := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+=,.@-", r)) {
			return r
		}
		return '-'
	}, s.key.Name)
	if len(name) > maxUserName {
		name = name[:maxUserName]
	}
	if name == "" {
		name = s.key.ID
	}
	return "arn:aws:iam::" + s.account.ID + ":user/" + name
}

// maxUserName is how long the name of a user can be (IAM quotas).
const maxUserName = 64

// userID is the unique identifier of that user, whose beginning says what it is of (IAM guide, "Unique identifiers").
func (s *signer) userID() string {
	id := strings.TrimPrefix(strings.TrimPrefix(s.key.ID, "AKIA"), "ASIA")
	if s.certificate != "" {
		return "AROA" + id + ":" + s.certificate
	}
	return "AIDA" + id
}

// queryCodes are the names of errors in that protocol where they are not those of ours without "Exception" (AWS STS API
// reference, "Common errors").
var queryCodes = map[string]string{
	"UnrecognizedClientException": "InvalidClientTokenId",
	"InvalidSignatureException":   "SignatureDoesNotMatch",
	forbidden:                     "AccessDenied",
	invalidRequest:                "MalformedQueryString",
	internalFailure:               "InternalFailure",
}

// queryError is the answer to a request that has failed.
func queryError(e *awsError, status int, requestID string) []byte {
	code := queryCodes[e.name]
	if code == "" {
		code = strings.TrimSuffix(e.name, "Exception")
	}
	fault := "Sender"
	if status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	type response struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		NS      string   `xml:"xmlns,attr"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
		Request string   `xml:"RequestId"`
	}
	body, err := xml.Marshal(response{NS: identityNamespace, Type: fault, Code: code, Message: e.message, Request: requestID})
	if err != nil {
		return []byte("<ErrorResponse/>")
	}
	return body
}

// writeXML sends an answer of that protocol.
func writeXML(w http.ResponseWriter, status int, requestID string, body []byte) {
	h := w.Header()
	h.Set("x-amzn-RequestId", requestID)
	h.Set("Content-Type", "text/xml")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away needs no answer
}
