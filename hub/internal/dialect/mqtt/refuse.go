package mqtt

import (
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
)

// What operators are told of refusals, each with what to do about it. Clients are told the kind only: that there is no such
// device and that its password is wrong look the same to them.

func noUser() error {
	return &core.HelpError{
		Text: "no device can have this user name, which is TENANT/DEVICE, or DEVICE where there is a default tenant",
		Help: "Compare it with the names in `fairlead device list --dialect mqtt`.",
		Err:  core.ErrUnauthenticated,
	}
}

// noDevice names the device only if the client has sent a password too: else the user name may be a secret.
func noDevice(k core.DeviceKey, password []byte) error {
	e := &core.HelpError{
		Text: "there is no device of this name, and the client sent a user name without a password",
		Help: "Compare its user name with the names in `fairlead device list --dialect mqtt`, and let it send a password or a token.",
		Err:  core.ErrUnauthenticated,
	}
	if password != nil {
		e.Text = "there is no device " + k.String()
		e.Help = add(k) + ". Or is the user name wrong? Compare it with `fairlead device list --dialect mqtt`."
	}
	return e
}

// add says how a device is made.
func add(k core.DeviceKey) string {
	return fmt.Sprintf("Make it: `fairlead device add %s --tenant %s`", k.ID, k.Tenant)
}

func wrongPassword(h credential.Holder, password []byte, now time.Time) error {
	e := &core.HelpError{
		Text: "wrong password, or a token that has expired",
		Help: fmt.Sprintf("Give the device the right one, or another: `fairlead device password %[1]s`, or for a while `fairlead device token %[1]s`.", h.DeviceKey),
		Err:  core.ErrUnauthenticated,
	}
	live := false
	for _, t := range h.Tokens {
		live = live || now.Before(t.Expires)
	}
	switch {
	case password == nil:
		e.Text = "the client sent a user name without a password"
	case len(h.Enrolment.SecretHash) == 0 && !live:
		e.Text = "the device has no password, and no token that has not expired"
	}
	return e
}

// guessing has the time in the help only, so that what differs in nothing else is one entry with a count.
func guessing(wait time.Duration) error {
	return &core.HelpError{
		Text: "too many wrong passwords for this device from this address, or from this address in all: even the right one is refused now",
		Help: fmt.Sprintf("Stop whatever sends the wrong one, wait %d s, and try again with the right one. "+
			"Tokens, and passwords that the hub made, are let in at any time.", (wait+time.Second-1)/time.Second),
		Err: errGuessing,
	}
}

func inhibited(k core.DeviceKey) error {
	return &core.HelpError{
		Text: "the device is kept out: it was inhibited by an operator",
		Help: "Let it in again: `fairlead device allow " + k.String() + "`.",
		Err:  core.ErrDenied,
	}
}

func revoked(k core.DeviceKey) error {
	return &core.HelpError{
		Text: "the device's certificate was revoked",
		Help: "Make another one: `fairlead cert issue " + k.String() + "`.",
		Err:  core.ErrDenied,
	}
}

// unregistered refuses the certificate of an authority that makes no devices.
func unregistered(k core.DeviceKey) error {
	return &core.HelpError{
		Text: fmt.Sprintf("there is no device %s, and the authority of its certificate is not registered to make devices", k),
		Help: add(k) + fmt.Sprintf(". To have the devices of this authority made when they first connect, remove and register it again: `fairlead authority add FILE --tenant %s --auto-register`.", k.Tenant),
		Err:  core.ErrDenied,
	}
}

// AdviseGrant implements dialect.Adviser.
func (d *Dialect) AdviseGrant(k core.DeviceKey) string {
	name := "DEVICE"
	if k.ID != "" {
		name = k.String()
	}
	return "Compare the topic with what the device is granted: `fairlead device grant " + name + "` shows it, and with --publish or --subscribe says it anew."
}
