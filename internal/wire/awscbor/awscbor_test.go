package awscbor

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
	"github.com/google/go-cmp/cmp"
)

// request is {"certificateOwnershipToken": "t", "parameters": {"SerialNumber": "1"}}, written by hand after RFC 8949.
var request = "a2" + "7819" + hex.EncodeToString([]byte("certificateOwnershipToken")) + "6174" +
	"6a" + hex.EncodeToString([]byte("parameters")) + "a1" + "6c" + hex.EncodeToString([]byte("SerialNumber")) + "6131"

func TestRequest(t *testing.T) {
	raw, err := hex.DecodeString(request)
	if err != nil {
		t.Fatal(err)
	}
	var got awswire.ProvisionRequest
	if err := Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := awswire.ProvisionRequest{CertificateOwnershipToken: "t", Parameters: map[string]string{"SerialNumber": "1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, err := Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var second awswire.ProvisionRequest
	if err := Unmarshal(again, &second); err != nil || cmp.Diff(got, second) != "" {
		t.Errorf("%x: %v", again, err)
	}
}

func TestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "",
		"cut":            request[:20],
		"two values":     request + "00",
		"twice":          "a2" + "6174" + "6131" + "6174" + "6131",
		"no map":         "01",
		"deep":           strings.Repeat("81", 20) + "00",
		"huge map":       "ba7fffffff",
		"huge text":      "7b7fffffffffffffff",
		"a tag":          "c1" + "00",
		"no UTF-8":       "a1" + "61ff" + "6131",
		"reserved break": "ff",
	} {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(name, err)
		}
		var got awswire.ProvisionRequest
		if err := Unmarshal(raw, &got); err == nil {
			t.Errorf("%s: no error, got %+v", name, got)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	raw, err := hex.DecodeString(request)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{0xa1, 0x61, 0x78, 0x80})
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second awswire.ProvisionRequest
		if Unmarshal(text, &first) != nil {
			return
		}
		once, err := Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal(once, &second); err != nil {
			t.Fatalf("%x: %v", once, err)
		}
		if twice, err := Marshal(second); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%x and %x: %v", once, twice, err)
		}
	})
}
