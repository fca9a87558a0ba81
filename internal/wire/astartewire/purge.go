package astartewire

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxPurgeText is the size that the text of a purge list must stay below (astarte_data_updater_plant
// payloads_decoder.ex).
const MaxPurgeText = 10_485_760

// ErrPurgeList means that a purge list is malformed or too large (platform: purge_properties_error).
var ErrPurgeList = errors.New("invalid purge list")

// emptyPurgeList is the empty list as the platform and the Python and Rust SDKs send it. The bare four zero bytes, which
// the platform also accepts, must not be sent: they kill the Python SDK's network thread (observed).
var emptyPurgeList = []byte{0, 0, 0, 0, 0x78, 0x9c, 0x03, 0, 0, 0, 0, 0x01}

// inflaters and deflaters keep compressors between lists: one is tens to hundreds of KiB, and every device that
// connects exchanges two lists.
var (
	inflaters sync.Pool
	deflaters = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}
)

// ParsePurgeList reads the payload of control/producer/properties and control/consumer/properties: four bytes and a
// zlib stream of "interface/path" items joined by semicolons. The four bytes should be the text's size, but the Python
// SDK writes them in the other byte order (observed) and no receiver of the platform looks at them, so they are ignored.
// Four zero bytes alone are an empty list. Items without a slash mean nothing and are left out.
//
// The stream must be complete and end with the payload, and its text be valid UTF-8 and shorter than [MaxPurgeText].
func ParsePurgeList(b []byte) ([]string, error) {
	if len(b) < 4 {
		return nil, ErrPurgeList
	}
	if string(b) == "\x00\x00\x00\x00" || bytes.Equal(b, emptyPurgeList) {
		return nil, nil
	}
	text, err := inflate(b[4:])
	if err != nil {
		return nil, err
	}
	return splitPurgeText(text)
}

// ParsePlainPurgeList reads a purge list without header and compression, as devices with the capability
// purge_properties_compression_format "plaintext" send it. Four zero bytes are an empty list here too.
func ParsePlainPurgeList(b []byte) ([]string, error) {
	if len(b) >= MaxPurgeText {
		return nil, ErrPurgeList
	}
	if string(b) == "\x00\x00\x00\x00" {
		return nil, nil
	}
	return splitPurgeText(b)
}

func inflate(b []byte) ([]byte, error) {
	src := bytes.NewReader(b) // a ByteReader, so nothing behind the stream is consumed
	r, _ := inflaters.Get().(io.ReadCloser)
	var err error
	if r == nil {
		r, err = zlib.NewReader(src)
	} else {
		err = r.(zlib.Resetter).Reset(src, nil)
	}
	if r != nil {
		defer inflaters.Put(r)
	}
	if err != nil {
		return nil, ErrPurgeList
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxPurgeText))
	// At the limit the text is too long, or just so long that the checksum has not been read: refused both.
	if err != nil || len(text) >= MaxPurgeText || src.Len() != 0 {
		return nil, ErrPurgeList
	}
	return text, nil
}

func splitPurgeText(text []byte) ([]string, error) {
	if !utf8.Valid(text) {
		return nil, ErrPurgeList
	}
	all := string(text)
	n := 0 // counted first, because a text of a few KiB can inflate to millions of items
	for item := range strings.SplitSeq(all, ";") {
		if strings.IndexByte(item, '/') > 0 {
			n++
		}
	}
	items := make([]string, 0, n)
	for item := range strings.SplitSeq(all, ";") {
		if strings.IndexByte(item, '/') > 0 {
			items = append(items, item)
		}
	}
	return items, nil
}

// SplitPurgeItem splits one item of a purge list into the interface's name and the path, which begins with a slash.
func SplitPurgeItem(item string) (name, path string) {
	if i := strings.IndexByte(item, '/'); i >= 0 {
		return item[:i], item[i:]
	}
	return item, ""
}

// AppendPurgeList appends the purge list of items (each an interface's name directly followed by a path) to b: the
// text's size as four bytes, big endian, and a zlib stream. Debug builds of the Rust SDK verify the size.
func AppendPurgeList(b []byte, items []string) []byte {
	text := strings.Join(items, ";")
	if text == "" {
		return append(b, emptyPurgeList...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	w := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(w)
	buf := bytes.NewBuffer(b)
	w.Reset(buf)
	_, _ = io.WriteString(w, text) // a bytes.Buffer does not fail
	_ = w.Close()
	return buf.Bytes()
}

// AppendPlainPurgeList appends the purge list of items without header and compression to b.
func AppendPlainPurgeList(b []byte, items []string) []byte {
	return append(b, strings.Join(items, ";")...)
}
