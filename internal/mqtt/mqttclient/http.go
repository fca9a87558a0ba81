package mqttclient

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead"
)

const (
	maxHeaderBytes = 64 << 10 // of an answer
	maxDetailBytes = 512      // of the text of a refusal
)

// response is the head of an HTTP answer. net/http is not used: the answer's end is where another protocol begins, and a device that needs no
// more of HTTP than this does not link it.
type response struct {
	status int
	header textproto.MIMEHeader
	br     *bufio.Reader // what comes behind
}

// readResponse reads the head of an answer.
func readResponse(nc net.Conn) (*response, error) {
	head := &io.LimitedReader{R: nc, N: maxHeaderBytes}
	br := bufio.NewReaderSize(head, 4096)
	text := textproto.NewReader(br)
	line, err := text.ReadLine()
	if err != nil {
		return nil, err
	}
	proto, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if err != nil || !strings.HasPrefix(proto, "HTTP/1.") || status < 100 || status > 999 {
		return nil, fmt.Errorf("the answer begins with %.80q, which is not HTTP", line)
	}
	header, err := text.ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	head.N = 1<<63 - 1
	return &response{status, header, br}, nil
}

// refusal is the error that the answer stands for.
func (r *response) refusal(doing string) error {
	n := r.br.Buffered()
	if length, err := strconv.Atoi(r.header.Get("Content-Length")); err == nil && length >= 0 {
		n = length
	}
	text := make([]byte, min(n, maxDetailBytes))
	n, _ = io.ReadFull(r.br, text) // whatever has come will do
	e := &fairlead.PlatformError{
		Op: doing, Code: strconv.Itoa(r.status), Detail: strings.TrimSpace(string(bytes.ToValidUTF8(text[:n], nil))), Kind: HTTPKind(r.status),
	}
	retry := r.header.Get("Retry-After")
	if s, err := strconv.ParseUint(retry, 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	} else if at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", retry); err == nil { // RFC 9110 section 5.6.7
		e.RetryAfter = max(0, time.Until(at))
	}
	return e
}

// HTTPKind returns the kind of failure that an HTTP status stands for.
func HTTPKind(status int) error {
	switch status {
	case 401, 407: // the second is the proxy's
		return fairlead.ErrUnauthenticated
	case 403:
		return fairlead.ErrDenied
	case 404, 410:
		return fairlead.ErrNotFound
	case 409, 412:
		return fairlead.ErrConflict
	case 413, 431:
		return fairlead.ErrTooLarge
	case 429:
		return fairlead.ErrThrottled
	}
	if status >= 400 && status < 500 && status != 408 { // a timeout
		return fairlead.ErrInvalid
	}
	return fairlead.ErrUnavailable
}
