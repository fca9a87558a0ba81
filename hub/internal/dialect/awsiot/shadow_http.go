package awsiot

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// The operations of the shadow service over HTTPS (API reference, "AWS IoT data plane"). They return the body of the answer;
// refusals are of type *awswire.ShadowError, see shadowException. Changes are told over MQTT like those of devices, refusals
// are not.

// getThingShadow returns a shadow's document; name is empty for the classic one.
func (d *Dialect) getThingShadow(ctx context.Context, t core.TenantID, thing, name string) (body []byte, err error) {
	k, err := d.shadowTarget(t, thing, name)
	if err != nil {
		return nil, err
	}
	var refusal *awswire.ShadowError
	err = d.view(ctx, func(rd store.Reader) (err error) {
		body, refusal, err = d.shadows.get(rd, k, name, "", d.cfg.Now().Unix())
		return err
	})
	return refused(body, refusal, err)
}

// updateThingShadow changes a shadow. The answer has the client token, if the request has one.
func (d *Dialect) updateThingShadow(ctx context.Context, t core.TenantID, thing, name string, request []byte) (body []byte, err error) {
	k, err := d.shadowTarget(t, thing, name)
	if err != nil {
		return nil, err
	}
	u, err := awswire.ParseUpdate(request)
	if err != nil {
		return nil, err
	}
	var refusal *awswire.ShadowError
	err = d.cfg.Committer.DoRepeatable(ctx, func(tx *commit.Tx) (err error) {
		body, refusal, err = d.shadows.update(tx, k, name, &u)
		return err
	})
	return refused(body, refusal, err)
}

// deleteThingShadow deletes a shadow.
func (d *Dialect) deleteThingShadow(ctx context.Context, t core.TenantID, thing, name string) (body []byte, err error) {
	k, err := d.shadowTarget(t, thing, name)
	if err != nil {
		return nil, err
	}
	var refusal *awswire.ShadowError
	err = d.cfg.Committer.DoRepeatable(ctx, func(tx *commit.Tx) (err error) {
		body, refusal, err = d.shadows.delete(tx, k, name, "")
		return err
	})
	return refused(body, refusal, err)
}

// Sizes of pages of named shadows (service model iot-data).
const (
	defaultShadowPage = 25
	maxShadowPage     = 100
)

// errShadowPage refuses what is no page.
var errShadowPage = &awswire.ShadowError{Code: 400, Message: "Invalid nextToken or pageSize"}

// listNamedShadowsForThing returns a page of the names of a thing's named shadows. size 0 is the default; next is what the page
// before has told.
func (d *Dialect) listNamedShadowsForThing(ctx context.Context, t core.TenantID, thing, next string, size int) (body []byte, err error) {
	if _, err := d.shadowTarget(t, thing, ""); err != nil {
		return nil, err
	}
	if size == 0 {
		size = defaultShadowPage
	}
	place, err := base64.RawURLEncoding.DecodeString(next)
	if err != nil || size < 1 || size > maxShadowPage {
		return nil, errShadowPage
	}
	after := string(place) // "" is the classic one, which is not listed
	err = d.view(ctx, func(rd store.Reader) error {
		list, more, err := shadowNames(rd, t, thing, &after, size)
		if err != nil {
			return err
		}
		token := ""
		if more {
			token = base64.RawURLEncoding.EncodeToString([]byte(list[len(list)-1]))
		}
		body = awswire.AppendShadowList(nil, list, token, d.cfg.Now().Unix())
		return nil
	})
	return body, err
}

// shadowTarget checks the names of a request.
func (d *Dialect) shadowTarget(t core.TenantID, thing, name string) (core.DeviceKey, error) {
	k := deviceKey(t, thing)
	switch {
	case !awswire.ValidThingName(thing):
		return k, &awswire.ShadowError{Code: 400, Message: "Invalid thing name"}
	case name != "" && !awswire.ValidShadowName(name):
		return k, &awswire.ShadowError{Code: 400, Message: "Invalid shadow name"}
	case !d.shadows.limiter.allow(k):
		return k, awswire.ErrShadowBusy
	}
	return k, nil
}

// refused makes a refusal an error.
func refused(body []byte, refusal *awswire.ShadowError, err error) ([]byte, error) {
	if err == nil && refusal != nil {
		err = refusal
	}
	return body, err
}

// shadowException returns the name that a refusal has over HTTPS (service model iot-data); "" for what is none.
func shadowException(err error) (name string, refusal *awswire.ShadowError) {
	if !errors.As(err, &refusal) {
		return "", nil
	}
	switch refusal.Code {
	case 400:
		return "InvalidRequestException", refusal
	case 401:
		return "UnauthorizedException", refusal
	case 403:
		return "ForbiddenException", refusal
	case 404:
		return "ResourceNotFoundException", refusal
	case 409:
		return "ConflictException", refusal
	case 413:
		return "RequestEntityTooLargeException", refusal
	case 415:
		return "UnsupportedDocumentEncodingException", refusal
	case 429:
		return throttling, refusal
	}
	return "InternalFailureException", refusal
}

// sweptShadows is how many deleted shadows are forgotten in one transaction.
const sweptShadows = 200

// sweepShadows forgets the versions of shadows of an account that were deleted long enough ago, and reports whether there may be
// more.
func (d *Dialect) sweepShadows(tx *commit.Tx, t core.TenantID, now time.Time) (more bool, err error) {
	before := shadowGoneKey(now.Add(-shadowKept), "", "")
	type grave struct{ key, shadow string }
	var list []grave
	for r, err := range tx.Records(t, Name, keyShadowGone) {
		if err != nil {
			return false, err
		}
		if r.Key >= before || len(list) == sweptShadows {
			break
		}
		// shadow-gone/MICROSECONDS/ is as long for all.
		list = append(list, grave{r.Key, keyShadow + r.Key[len(before)-1:]})
	}
	for _, g := range list {
		if err := tx.DeleteRecord(t, Name, g.key); err != nil {
			return false, err
		}
		if err := tx.DeleteRecord(t, Name, g.shadow); err != nil {
			return false, err
		}
	}
	return len(list) == sweptShadows, nil
}
