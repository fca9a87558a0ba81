package awsiot

import (
	"context"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// SignIn implements dialect.Dialect.
func (d *Dialect) SignIn(context.Context, core.Claim) (core.Grant, dialect.Link, error) {
	return core.Grant{}, nil, dialect.ErrNotMine
}
