package astartewire

import (
	"encoding/binary"
	"math"
	"strconv"
)

// BeginDocument begins a BSON document at the end of b. Append its elements and pass the mark to [EndDocument]:
//
//	b, doc := astartewire.BeginDocument(b)
//	b = astartewire.AppendDouble(b, "v", 21.5)
//	b = astartewire.AppendDatetime(b, "t", time.Now().UnixMilli())
//	b = astartewire.EndDocument(b, doc)
//
// Keys must not contain a zero byte. Senders write "v" before "t", as the official SDKs do.
func BeginDocument(b []byte) (out []byte, mark int) { return append(b, 0, 0, 0, 0), len(b) }

// EndDocument ends the document or array that was begun at mark.
func EndDocument(b []byte, mark int) []byte {
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b[mark:], uint32(len(b)-mark))
	return b
}

// BeginSubdocument begins a document as an element of another one; it ends with [EndDocument].
func BeginSubdocument(b []byte, key string) (out []byte, mark int) {
	return BeginDocument(appendHead(b, BSONDocument, key))
}

// BeginArray begins an array as an element; it ends with [EndDocument]. Its elements have the keys IndexKey(0),
// IndexKey(1) and so on.
func BeginArray(b []byte, key string) (out []byte, mark int) {
	return BeginDocument(appendHead(b, BSONArray, key))
}

func appendHead(b []byte, typ byte, key string) []byte {
	b = append(b, typ)
	b = append(b, key...)
	return append(b, 0)
}

// AppendDouble appends a double element.
func AppendDouble(b []byte, key string, v float64) []byte {
	return binary.LittleEndian.AppendUint64(appendHead(b, BSONDouble, key), math.Float64bits(v))
}

// AppendInt appends an integer element as the platform and most SDKs send it, whatever the mapping's type: of 32 bits
// if it fits, else of 64.
func AppendInt(b []byte, key string, v int64) []byte {
	if v != int64(int32(v)) {
		return AppendLong(b, key, v)
	}
	return binary.LittleEndian.AppendUint32(appendHead(b, BSONInt32, key), uint32(v))
}

// AppendLong appends an integer element of 64 bits, as the Rust SDK sends every longinteger (observed).
func AppendLong(b []byte, key string, v int64) []byte {
	return binary.LittleEndian.AppendUint64(appendHead(b, BSONInt64, key), uint64(v))
}

// AppendBool appends a boolean element.
func AppendBool(b []byte, key string, v bool) []byte {
	b = appendHead(b, BSONBool, key)
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendString appends a string element. The string must be valid UTF-8.
func AppendString[S string | []byte](b []byte, key string, v S) []byte {
	b = binary.LittleEndian.AppendUint32(appendHead(b, BSONString, key), uint32(len(v)+1))
	return append(append(b, v...), 0)
}

// AppendBinary appends a binary element of subtype 0.
func AppendBinary(b []byte, key string, v []byte) []byte {
	b = binary.LittleEndian.AppendUint32(appendHead(b, BSONBinary, key), uint32(len(v)))
	return append(append(b, 0), v...)
}

// AppendDatetime appends a datetime element: milliseconds since 1970 UTC.
func AppendDatetime(b []byte, key string, millis int64) []byte {
	return binary.LittleEndian.AppendUint64(appendHead(b, BSONDatetime, key), uint64(millis))
}

// AppendNull appends a null element.
func AppendNull(b []byte, key string) []byte { return appendHead(b, BSONNull, key) }

// AppendValue appends an element with a value that [ParsePayload] has returned.
func AppendValue(b []byte, key string, v Value) []byte {
	return append(appendHead(b, v.Type, key), v.raw...)
}

// indexKeys are the keys of as many elements as an array may have.
var indexKeys = func() (keys [MaxArrayLen]string) {
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	return keys
}()

// IndexKey returns the key of element i of an array, without allocation as far as arrays may go.
func IndexKey(i int) string {
	if i >= 0 && i < len(indexKeys) {
		return indexKeys[i]
	}
	return strconv.Itoa(i)
}
