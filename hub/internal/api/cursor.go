package api

import (
	"encoding/base64"
	"encoding/json"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A cursor is where a page ended, as JSON in base64. It is no secret and gives no right: what it names is looked at like
// any other parameter. Callers are to treat it as opaque, so that its content can change.

// makeCursor returns the cursor for a place.
func makeCursor(place any) (string, error) {
	text, err := json.Marshal(place)
	return base64.RawURLEncoding.EncodeToString(text), err
}

// cursor reads the cursor of a request into place; ok is false if there is none.
func (r *request) cursor(place any) (ok bool, err error) {
	text := r.text("cursor")
	if text == "" {
		return false, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, place)
	}
	if err != nil {
		return false, refuse(core.ErrInvalid, "the cursor is not one that this list has given")
	}
	return true, nil
}
