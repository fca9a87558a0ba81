// Package awsiot is AWS IoT Core as the hub speaks it: MQTT for devices with the service's rules and policies, shadows,
// jobs, provisioning, and its HTTP APIs.
//
// In the words of the core an account is a tenant, a thing is a device (a thing's name is its id), and a message to a
// topic that is not reserved is a sample:
//
//	channel      the topic, in full; of a basic ingest topic what follows $aws/rules/RULE/
//	count scope  "" is everything that the thing sent, "not stored" what was passed on without being stored
//	document     a shadow, see shadow.go
//
// What the core has no place for is kept in records of the account (see model.go for how they are read and written):
//
//	account                          the account's number, region and settings
//	accesskey/KEY                    an access key, see package accesskey
//	greengrass/ID                    a group of Greengrass discovery
//	authorizer/NAME                  a custom authorizer
//	rolealias/NAME                   a role alias, for credentials that devices are lent
//	thing/THING                      a thing: type, attributes, version
//	thingtype/NAME                   a thing type
//	thingtype-thing/NAME/THING       index: things of a type
//	thinggroup/NAME                  a static thing group
//	thinggroup-child/PARENT/NAME     index: groups below a group
//	thinggroup-thing/GROUP/THING     index: things of a group
//	thing-thinggroup/THING/GROUP     index: groups of a thing
//	billinggroup/NAME                a billing group
//	billinggroup-thing/GROUP/THING   index: things of a billing group
//	tags/RESOURCE                    tags of a resource, which is named as in ARNs
//	cert/ID                          a certificate, of our CA or registered
//	cert-time/MICROSECONDS/ID        index: certificates by their making; and cert-emit/..., the latest first
//	cert-ca/CA/ID                    index: certificates of a registered authority
//	cert-out/ID                      index: certificates that are offered to other accounts
//	cert-in/ID                       index: certificates that other accounts offer to this one
//	cacert/ID                        a registered authority
//	policy/NAME                      a policy with all its versions
//	target-policy/TARGET/NAME        index: policies attached to a target
//	policy-target/NAME/TARGET        index: targets of a policy
//	thing-principal/THING/PRINCIPAL  index: principals attached to a thing
//	principal-thing/PRINCIPAL/THING  index: things attached to a principal
//
// Targets and principals are named as in ARNs: "cert/ID", "thinggroup/NAME". Names of things, types and groups have no
// slash, so no two pairs are one key.
//
// # How a message gets to where it belongs
//
// The broker asks the rules of the connection (rules.go: policies, limits) and then calls link.Receive. A topic that is not
// reserved becomes a sample. One that begins with "$aws/" is parsed once ([parseReserved]) and given to the service that
// [Dialect.services] has for its kind: shadows, jobs, provisioning. A service implements [service]; it puts operations into
// the batch and answers with [Dialect.reply]. What comes by HTTP (POST /topics/...) takes the same way.
// Events of the dialect's devices ([Dialect.Notify]) are shown to each service too.
//
// # Whose connection it is
//
// Ours are connections with a certificate that is on record here, or that an authority registered here has signed, or
// that our CA made for this dialect and that is on record no more; WebSockets on /mqtt whose request is signed, by an access
// key or by a pass that stands for a certificate; and those that name a custom authorizer. The account is the certificate's or the access key's; where neither tells, that of the
// server name ("ACCOUNT.iot.REGION.amazonaws.localhost"), else Config.DefaultTenant.
//
// Facts come from the AWS IoT Core Developer Guide and API reference (read 2026-11), and from watching the official
// clients ("observed": AWSIoTPythonSDK 1.6.2, awsiotsdk 1.31.0, boto3 1.44.5).
package awsiot
