package sqlite

import (
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

const tokenColumns = "id, hash, name, scope, tenant, created, expires"

func token(r row) core.Token {
	t := core.Token{
		ID: r.ColumnText(0), Name: r.ColumnText(2), Scope: core.Scope(r.ColumnInt64(3)), Tenant: core.TenantID(r.ColumnText(4)),
		Created: r.time(5), Expires: r.time(6),
	}
	r.ColumnBytes(1, t.Hash[:])
	return t
}

func (r *reader) Token(id string) (t core.Token, err error) {
	found, err := r.c.one(func(r row) { t = token(r) }, "SELECT "+tokenColumns+" FROM tokens WHERE id = ?", id)
	if err == nil && !found {
		err = fmt.Errorf("%w: token %.64q", core.ErrNotFound, id)
	}
	return t, err
}

func (r *reader) TokenByHash(hash [32]byte) (t core.Token, err error) {
	found, err := r.c.one(func(r row) { t = token(r) }, "SELECT "+tokenColumns+" FROM tokens WHERE hash = ?", hash[:])
	if err == nil && !found {
		err = fmt.Errorf("%w: token", core.ErrNotFound)
	}
	return t, err
}

func (r *reader) Tokens() ([]core.Token, error) {
	var list []core.Token
	for r, err := range r.c.rows("SELECT " + tokenColumns + " FROM tokens ORDER BY id") {
		if err != nil {
			return nil, err
		}
		list = append(list, token(r))
	}
	return list, nil
}

func (t *tx) InsertToken(x core.Token) error {
	err := t.c.exec("INSERT INTO tokens ("+tokenColumns+") VALUES (?, ?, ?, ?, ?, ?, ?)",
		x.ID, x.Hash[:], x.Name, int64(x.Scope), x.Tenant, micro(x.Created), micro(x.Expires))
	return exists(err, "token", x.ID)
}

func (t *tx) DeleteToken(id string) error {
	return t.c.change("token", "DELETE FROM tokens WHERE id = ?", id)
}
