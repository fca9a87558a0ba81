package awsiot

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// In a WebSocket's request what the authorizer wants has left the user name to the program.
func TestAuthorizerPlaces(t *testing.T) {
	for place, want := range map[AuthorizerPlace]struct{ target, header, username string }{
		InUsername: {"/mqtt", "", "user?x-amz-customauthorizer-name=a%2B&x-amz-customauthorizer-signature=c2ln%2B/%3D%3D&tok=t%20%26"},
		InHeader:   {"/mqtt", "x-amz-customauthorizer-name: a+, x-amz-customauthorizer-signature: c2ln+/==, tok: t &", "user"},
		InQuery:    {"/mqtt?x-amz-customauthorizer-name=a%2B&x-amz-customauthorizer-signature=c2ln%2B/%3D%3D&tok=t%20%26", "", "user"},
	} {
		t.Run(place.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(c *Config) {
					c.Authorizer = &Authorizer{Name: "a+", Signature: "c2ln+/==", TokenName: "tok", Token: identity.NewSecret("t &"), Place: place}
					c.WebSocket, c.Username = true, "user"
				}, mqtttest.ExpectExactly(mqtt.Connect{
					Version: mqtt.V311, ClientID: "pump-7", CleanStart: true, HasUsername: true, Username: want.username,
				}), connack(false))
				r.start()
				if err := r.finish(); err != nil {
					t.Error(err)
				}
				if len(r.gate.requests) != 1 {
					t.Fatalf("%d requests", len(r.gate.requests))
				}
				req := r.gate.requests[0]
				if req.RequestURI != want.target {
					t.Errorf("got %s\nwant %s", req.RequestURI, want.target)
				}
				var lines []string
				for _, name := range []string{"x-amz-customauthorizer-name", "x-amz-customauthorizer-signature", "tok"} {
					if v := req.Header.Get(name); v != "" {
						lines = append(lines, name+": "+v)
					}
				}
				if got := strings.Join(lines, ", "); got != want.header {
					t.Errorf("got %s\nwant %s", got, want.header)
				}
			})
		})
	}
}

func TestAuthorizerPlaceRefused(t *testing.T) {
	secret := identity.NewSecret
	for want, tt := range map[string]struct {
		a  Authorizer
		ws bool
	}{
		"there is none without WebSocket":    {Authorizer{Place: InHeader}, false},
		"in the query of a request":          {Authorizer{Place: InQuery}, false},
		"Authorizer has place 9":             {Authorizer{Place: 9}, true},
		`"to ken", which no header line`:     {Authorizer{TokenName: "to ken", Token: secret("x"), Place: InHeader}, true},
		`"tok", which no header line`:        {Authorizer{TokenName: "tok", Token: secret("a\r\nHost: x"), Place: InHeader}, true},
		`"spaces", which no header line`:     {Authorizer{TokenName: "spaces", Token: secret(" x"), Place: InHeader}, true},
		`customauthorizer-name", which no h`: {Authorizer{Name: "ä", Place: InHeader}, true},
	} {
		_, err := New(Config{Endpoint: endpoint, Authorizer: &tt.a, WebSocket: tt.ws})
		if !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
	}
}
