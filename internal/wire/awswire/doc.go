// Package awswire holds the formats of AWS IoT Core's device services: the reserved topics, the documents of device
// shadows with the rules by which they change, and the requests and replies of shadows, jobs and fleet provisioning. The
// device SDK and the hub share it, so that both ends agree by construction. It does no I/O and imports only the standard
// library.
//
// A request to a shadow goes through it like this:
//
//	t, ok := awswire.ParseTopic("$aws/things/pump-7/shadow/update")   // Thing "pump-7", Op OpUpdate
//	u, err := awswire.ParseUpdate(payload)                            // a *ShadowError has the service's code and text
//	next, err := shadow.Apply(u, now)                                 // merged; shadow stays as it was
//	reply := u.AppendAccepted(nil, next.Version, now)
//
// JSON is kept in [Node] values, which write numbers as they were written and members in their order.
//
// Facts come from the "AWS IoT Core Developer Guide" (chapters "AWS IoT Device Shadow service", "AWS IoT Jobs" and
// "Device provisioning", read 2026-11), the service models that botocore publishes, and where those leave a point open from
// the vendor's own implementation for gateways (aws-greengrass/aws-greengrass-shadow-manager). What official clients send
// is marked "observed"; the vectors are in testdata/vectors/aws. Where the sources leave a point open, the comment says
// "unspecified".
package awswire
