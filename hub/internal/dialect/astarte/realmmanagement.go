package astarte

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// listInstalled returns the names of the realm's interfaces; with detailed=true all their definitions.
func listInstalled(c *call) (reply, error) {
	names := c.realm.names()
	if c.r.URL.Query().Get("detailed") == "true" {
		all := []*astartewire.Interface{}
		for _, n := range names {
			all = append(all, c.realm.interfaces[n]...)
		}
		return success(all), nil
	}
	if names == nil {
		names = []string{}
	}
	return success(names), nil
}

func listMajors(c *call) (reply, error) {
	majors := c.realm.majors(c.params["interface"])
	if len(majors) == 0 {
		return reply{}, errInterfaceNotFound
	}
	return success(majors), nil
}

// major reads the major version in the path.
func (c *call) major() (int, error) {
	n, err := strconv.Atoi(c.params["major"])
	if err != nil {
		return 0, failure(http.StatusNotFound, "Invalid major version")
	}
	return n, nil
}

func getInterface(c *call) (reply, error) {
	major, err := c.major()
	if err != nil {
		return reply{}, err
	}
	i := c.realm.iface(c.params["interface"], major)
	if i == nil {
		return reply{}, errInterfaceNotFound
	}
	return success(i), nil
}

// installInterface adds an interface. The platform does so after its answer unless async_operation=false asks it to wait;
// here the answer always comes when it is done.
func installInterface(c *call) (reply, error) {
	i, err := c.definition()
	if err != nil {
		return reply{}, err
	}
	if i.Major == 0 { // a draft of that name may have been deleted, and not to the end
		if err := c.d.sweepDraft(c.ctx(), c.realm.Name, i.Name); err != nil {
			return reply{}, err
		}
	}
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error { return c.d.installInterface(tx, c.realm, i) })
	rep := emptyReply(http.StatusCreated)
	rep.location = fmt.Sprintf("/v1/%s/interfaces/%s/%d", c.realm.Name, i.Name, i.Major)
	return rep, err
}

// definition reads the interface in the body.
func (c *call) definition() (*astartewire.Interface, error) {
	raw, err := c.data()
	if err != nil {
		return nil, err
	}
	return astartewire.ParseInterface(raw)
}

func updateInterface(c *call) (reply, error) {
	major, err := c.major()
	if err != nil {
		return reply{}, err
	}
	i, err := c.definition()
	switch {
	case err != nil:
		return reply{}, err
	case i.Name != c.params["interface"]:
		return reply{}, astartewire.ErrNameMismatch
	case i.Major != major:
		return reply{}, astartewire.ErrMajorMismatch
	}
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error { return c.d.updateInterface(tx, c.realm, i) })
	return emptyReply(http.StatusNoContent), err
}

func deleteInterface(c *call) (reply, error) {
	major, err := c.major()
	if err != nil {
		return reply{}, err
	}
	return emptyReply(http.StatusNoContent), c.d.deleteInterface(c.ctx(), c.realm, c.params["interface"], major)
}

func getAuth(c *call) (reply, error) {
	return success(map[string]string{"jwt_public_key_pem": c.realm.PublicKeyPEM}), nil
}

// putAuth changes the key that the realm's tokens are verified with; the one of this request is the last that the old
// key opened.
func putAuth(c *call) (reply, error) {
	m, err := c.object()
	if err != nil {
		return reply{}, err
	}
	errs := fieldErrors{}
	key := publicKey(m, errs)
	if err := errs.err(); err != nil {
		return reply{}, err
	}
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error {
		r, err := c.d.realmIn(tx, c.realm.Name)
		if err != nil {
			return err
		}
		cfg := r.realmConfig
		cfg.PublicKeyPEM = key
		return c.d.updateRealm(tx, cfg)
	})
	return emptyReply(http.StatusNoContent), err
}

func getRegistrationLimit(c *call) (reply, error) { return success(c.realm.RegistrationLimit), nil }

func getMaxRetention(c *call) (reply, error) { return success(c.realm.MaxRetention), nil }
