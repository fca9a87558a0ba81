package hub

import (
	"context"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/datadir"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// Prepared is what [Init] has made, as files.
type Prepared struct {
	DataDir    string // absolute
	Root       string // the certificate that devices must trust
	AdminToken string // the token of the admin API that may do everything
	New        bool   // false: all of it was there already
}

// Init makes the data folder of a hub, or completes it: the certificate authority, the database and the admin token. Of
// cfg only DataDir and Logger count. Nothing that is there is changed, except that the database is brought up to date.
func Init(ctx context.Context, cfg Config) (_ Prepared, err error) {
	if cfg, err = cfg.WithDefaults(); err != nil {
		return Prepared{}, err
	}
	made := Prepared{New: datadir.Prepared(cfg.DataDir) != nil}
	dir, err := datadir.Open(cfg.DataDir)
	if err != nil {
		return Prepared{}, fmt.Errorf("init: %w", err)
	}
	defer func() {
		if cerr := dir.Close(); err == nil {
			err = cerr
		}
	}()
	authority, err := ca.Open(ca.Config{Dir: dir.CA(), Logger: cfg.Logger})
	if err != nil {
		return Prepared{}, fmt.Errorf("init: %w", err)
	}
	st, err := sqlite.Open(ctx, sqlite.Config{Dir: dir.Database(), Logger: cfg.Logger})
	if err != nil {
		return Prepared{}, fmt.Errorf("init: %w", err)
	}
	if err := st.Close(); err != nil {
		return Prepared{}, fmt.Errorf("init: %w", err)
	}
	// The token comes last: with it the folder is whole.
	if _, err := dir.AdminToken(); err != nil {
		return Prepared{}, fmt.Errorf("init: %w", err)
	}
	made.DataDir, made.Root, made.AdminToken = dir.Path(), authority.RootPath(), dir.TokenPath()
	return made, nil
}
