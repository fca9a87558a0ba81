package awsiot

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// Direct implements dialect.Director: it updates the desired state of a shadow, as an application does that publishes to
// .../shadow/update; "" is the classic one.
func (d *Dialect) Direct(tx *commit.Tx, dev core.Device, name string, patch json.RawMessage) error {
	if name != "" && !awswire.ValidShadowName(name) {
		return fmt.Errorf("%w: %.64q is no name of a shadow", core.ErrInvalid, name)
	}
	request := append(append([]byte(`{"state":{"desired":`), patch...), "}}"...)
	u, err := awswire.ParseUpdate(request)
	if err != nil {
		return directRefusal(err)
	}
	_, refusal, err := d.shadows.update(tx, dev.DeviceKey, name, &u)
	if refusal != nil {
		return directRefusal(refusal)
	}
	return err
}

// directRefusal gives a refusal of the shadow service the kind that it is.
func directRefusal(err error) error {
	var refusal *awswire.ShadowError
	if !errors.As(err, &refusal) {
		return err
	}
	kind := core.ErrInvalid
	if refusal.Code == awswire.ErrShadowTooLarge.Code {
		kind = core.ErrTooLarge
	}
	return fmt.Errorf("%w: %s", kind, refusal.Message)
}
