// Package awsiot is a device SDK for AWS IoT Core: it keeps a device connected over MQTT, publishes and subscribes, works with shadows
// and jobs, provisions fleets, and finds the cores of AWS IoT Greengrass.
//
// # What AWS IoT is about
//
// An account has one endpoint, a host name. A device is a thing, with a certificate that proves who it is and policies that say what it
// may do. Clients publish messages to topics and subscribe to filters; what goes to topics that begin with "$aws/" is for services that
// stand behind the broker:
//
//   - A shadow is a JSON document that AWS IoT keeps for a thing: what is desired of it, and what it reports. Both sides can change it
//     while the other one is away; the difference is the delta. A thing has a classic shadow and any number of named ones.
//   - A job is work that somebody wants done on many things. Each of them has an execution of its own, takes it up, and says what came of it.
//   - Fleet provisioning makes a thing of a device that has nothing but a certificate which it shares with others.
//
// # A device
//
// Whoever may do so creates a thing, a certificate with a key, and a policy, and attaches them to each other, such as in the AWS console.
// The device gets key, certificate and the account's endpoint:
//
//	id, err := identity.Load("/etc/pump/device.key", "/etc/pump/device.crt")
//	if err != nil {
//		return err
//	}
//	client, err := awsiot.New(awsiot.Config{
//		Endpoint: "a1b2c3-ats.iot.eu-west-1.amazonaws.com", ThingName: "pump-7", Identity: id,
//		OnConnection: func(c awsiot.Connection) { log.Println(c.State, c.Err) },
//	})
//	if err != nil {
//		return err
//	}
//	go client.Run(ctx) // connects, and stays connected until ctx ends
//
//	err = client.Publish(ctx, "dt/pump-7/temperature", awsiot.AtLeastOnce, []byte(`{"celsius":21.5}`), nil)
//
// New does no I/O. [Client.Run] connects, reconnects when the connection is lost, with the pauses of [Backoff], and subscribes again when
// AWS IoT has forgotten the session. Everything else can be called at any time, before Run, too, and waits for the connection, under its
// context.
//
// # Ways to connect
//
// [Config.Identity]: mutual TLS on port 8883, or on 443 by ALPN if the endpoint is given with that port. [Config.Credentials]: a
// WebSocket on 443 whose URL is signed with an AWS access key; the provider is asked before each connection, and the connection is
// replaced before AWS IoT ends it after a day, or temporary credentials end. [RoleAliasCredentials] borrow such a key for the
// certificate. [Config.Authorizer]: a custom authorizer. Proxies, other dialers and TLS settings have their fields.
//
// MQTT is version 5 unless [Config.Protocol] says otherwise: it alone tells why something was refused. With earlier ones AWS IoT hangs up
// on whoever publishes what no policy allows; then it takes a few connections to find out which message it was ([Config.MaxHangUps]).
//
// # What is sent while there is no connection
//
// [Client.Publish] waits until AWS IoT has the message; [Client.PublishAsync] returns a [Result] that tells; [Client.Enqueue] does
// neither. What was accepted is kept in order until it is acknowledged:
//
//   - in [Config.Outbox] if there is one. One in a file survives power cuts, and messages were on disk before they were sent;
//   - otherwise in memory, within the limits of [Config.OfflineQueue]: none, as AWS' SDKs have it, a number with one of the
//     [DropBehavior] values, or what memory allows.
//
// Requests to shadows and jobs are never kept: what they ask for is worth nothing later. Each waits for its own answer, so any number can
// be under way.
//
// # Callbacks
//
// Handlers of messages and the hooks of Config are called one at a time, in order, by one goroutine. They may use the client and wait for
// it. A message is acknowledged when its handlers have returned, unless one of them holds it ([Message.Hold]).
//
// # Errors
//
// Every error that a program may want to act on wraps one of the kinds of package fairlead, or one of the Err values here, which do so.
// What AWS IoT refuses is a [fairlead.PlatformError] with its own code: that of CONNACK, SUBACK or PUBACK, of a shadow ("409"), or of a
// job ("VersionMismatch", in a [JobError], which has the execution's state, too).
//
// # Tests
//
// Package hub/hubtest runs an AWS IoT inside a Go test. docs/coverage/aws-iot.md maps each item of AWS IoT Device SDK v1 for Python to
// one of ours.
package awsiot
