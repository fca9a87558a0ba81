package main

import (
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

const (
	clientArg  = "CLIENT is dialect/tenant/client, or the client id, its device's id, or the beginning of the client id, where only one client is meant."
	clientFull = "CLIENT is dialect/tenant/client, or the whole client id, or its device's id, where only one client is meant."
)

// clients asks for the first clients that a query selects.
type clients func(admin.SessionQuery) ([]admin.SessionKey, error)

// sessions finds clients among the sessions, connections among those that are connected.
func (s *session) sessions(q admin.SessionQuery) ([]admin.SessionKey, error) {
	page, err := s.client.Sessions(s.ctx, q)
	var list []admin.SessionKey
	for _, x := range page.Items {
		list = append(list, x.SessionKey)
	}
	return list, err
}

func (s *session) connections(q admin.SessionQuery) ([]admin.SessionKey, error) {
	page, err := s.client.Connections(s.ctx, q)
	var list []admin.SessionKey
	for _, x := range page.Items {
		list = append(list, x.SessionKey)
	}
	return list, err
}

// findClient finds the client that an argument means. What is whole goes before beginnings, and a verb that changes
// something takes nothing else.
func (s *session) findClient(arg string, among clients, whole bool) (admin.SessionKey, error) {
	if arg == "" {
		return admin.SessionKey{}, usageError{errors.New(`client "": want dialect/tenant/client, or a client id`)}
	}
	list, err := s.wholeClients(arg, among)
	if err != nil {
		return admin.SessionKey{}, err
	}
	begin := len(list) == 0
	if begin {
		if list, err = among(admin.SessionQuery{Prefix: arg, Limit: candidates + 1}); err != nil {
			return admin.SessionKey{}, err
		}
	}
	switch {
	case len(list) == 1 && !(begin && whole):
		return list[0], nil
	case len(list) == 0:
		return admin.SessionKey{}, fmt.Errorf("client %q: there is none", arg)
	case begin && whole:
		return admin.SessionKey{}, fmt.Errorf("client %q: there is none of that id; what begins so: %s", arg, names(list))
	}
	return admin.SessionKey{}, fmt.Errorf("client %q: several are meant: %s; say which as dialect/tenant/client", arg, names(list))
}

// wholeClients returns the clients whose key, id or device an argument is, the first of these that there are.
func (s *session) wholeClients(arg string, among clients) ([]admin.SessionKey, error) {
	if k, err := admin.ParseSessionKey(arg); err == nil && k.ClientID != "" {
		// The beginning of a client id can look like a dialect and a tenant.
		list, err := among(admin.SessionQuery{Dialect: k.Dialect, Tenant: k.Tenant, Client: k.ClientID, Limit: 1})
		if len(list) > 0 || err != nil && !admin.IsNotFound(err) {
			return list, err
		}
	}
	list, err := among(admin.SessionQuery{Client: arg, Limit: candidates + 1})
	if len(list) > 0 || err != nil {
		return list, err
	}
	devices, err := s.devices(admin.DeviceQuery{ID: arg})
	if err != nil {
		return nil, err
	}
	for _, k := range devices {
		of, err := among(admin.SessionQuery{Device: k, Limit: candidates + 1})
		if err != nil && !admin.IsNotFound(err) { // deleted meanwhile
			return nil, err
		}
		list = append(list, of...)
	}
	return list, nil
}
