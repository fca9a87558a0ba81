package demo

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// developTenant is the tenant that a hub for development has.
const developTenant = "dev"

// brokerAddress returns host and port of MQTT over TLS.
func brokerAddress(st hub.State) (string, error) {
	u, err := url.Parse(st.MQTT)
	if err != nil {
		return "", err
	}
	_, _, err = net.SplitHostPort(u.Host)
	return u.Host, err
}

// appliance is a plain MQTT device.
type appliance struct {
	site   *site
	id     string
	prefix string // of its topics
	engine *engine.Engine
}

// mqttFleet makes a door and a lamp.
func mqttFleet(ctx context.Context, s *site) ([]member, error) {
	var members []member
	for _, x := range []struct {
		id, what string
		run      func(*appliance, context.Context) error
	}{
		{"demo-door", "tells when it is opened and shut", (*appliance).door},
		{"demo-lamp", "does what is published to demo-lamp/set: on, off, 0 to 100", (*appliance).lamp},
	} {
		a, err := s.appliance(ctx, x.id)
		if err != nil {
			return nil, err
		}
		members = append(members, member{
			Device: Device{Key: admin.DeviceKey{Dialect: "mqtt", Tenant: developTenant, ID: x.id}, Name: strings.TrimPrefix(x.id, "demo-"), What: x.what},
			run:    func(ctx context.Context) error { return a.run(ctx, x.run) },
		})
	}
	return members, nil
}

// appliance makes a device, or gives the one that an earlier run has made another password: then none has to be kept.
func (s *site) appliance(ctx context.Context, id string) (*appliance, error) {
	made, err := s.admin.AddDevice(ctx, admin.NewDevice{Dialect: "mqtt", Tenant: developTenant, ID: id})
	login := made.Login
	var refusal *admin.Error
	if errors.As(err, &refusal) && refusal.Kind == "conflict" {
		login, err = s.admin.SetPassword(ctx, admin.DeviceKey{Dialect: "mqtt", Tenant: developTenant, ID: id}, admin.SetPassword{})
	}
	if err != nil {
		return nil, err
	}
	a := &appliance{site: s, id: id, prefix: login.TopicPrefix}
	a.engine, err = engine.New(engine.Config{
		Session: mqttclient.Config{Version: mqtt.V5},
		Prepare: func(context.Context, engine.Attempt) (*engine.Connection, error) {
			return &engine.Connection{
				Dialer: mqttclient.Dialer{Address: s.mqtt, TLS: s.tls(), DialContext: s.dial},
				Connect: mqtt.Connect{
					ClientID: id, CleanStart: true, KeepAlive: 60, Username: login.Username, HasUsername: true, Password: []byte(login.Password), HasPassword: true,
					Will: &mqtt.Will{Topic: a.prefix + "online", Payload: []byte("false"), QoS: 1, Retain: true},
				},
			}, nil
		},
	})
	return a, err
}

// run connects the device, and lets it work, until ctx ends.
func (a *appliance) run(ctx context.Context, work func(*appliance, context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.engine.Run(ctx) }()
	err := a.publish(ctx, "online", true)
	if err == nil {
		err = work(a, ctx)
	}
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	if rerr := <-ended; !errors.Is(rerr, context.Canceled) {
		err = errors.Join(err, rerr)
	}
	return err
}

// publish publishes a value as JSON, to be kept for those who come later.
func (a *appliance) publish(ctx context.Context, topic string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.engine.Publish(ctx, mqtt.Publish{Topic: []byte(a.prefix + topic), Payload: text, QoS: 1, Retain: true})
}

// door tells when the door has moved, and once in a while how its battery is.
func (a *appliance) door(ctx context.Context) error {
	battery, told := 97.0, false
	return every(ctx, a.site.interval, func(at time.Time) error {
		open, moved := a.site.house.door(at)
		if !moved && told {
			return nil
		}
		told = true
		battery = max(battery-0.01, 0)
		return errors.Join(a.publish(ctx, "open", open), a.publish(ctx, "battery", round(battery, 2)))
	})
}

// lamp does what it is told.
func (a *appliance) lamp(ctx context.Context) error {
	wishes := make(chan int, 1)
	err := a.engine.Register(engine.Subscription{
		Subscription: mqtt.Subscription{Filter: a.prefix + "set", QoS: 1},
		Handler: func(m *mqttclient.Message) {
			if percent, ok := brightness(string(m.Payload)); ok {
				select {
				case wishes <- percent:
				case <-ctx.Done():
				}
			}
		},
	})
	if err != nil {
		return err
	}
	percent := 0
	for {
		if err := a.publish(ctx, "brightness", a.site.house.light(percent)); err != nil {
			return err
		}
		select {
		case percent = <-wishes:
		case <-ctx.Done():
			return nil
		}
	}
}

// brightness reads what the lamp is told: on, off, or per cent.
func brightness(text string) (percent int, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "on":
		return 100, true
	case "off":
		return 0, true
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	return n, err == nil
}
