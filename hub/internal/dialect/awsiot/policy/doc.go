// Package policy is the language of AWS IoT policies: what a document says, and what it means for one connection.
//
// A document is parsed once ([Parse]) and bound to each connection that it is about ([Document.Bind]): then its variables
// have their values, and [Bound.Decide] compares text only. A document that the platform would refuse is refused here.
//
//	doc, err := policy.Parse(text)
//	bound := doc.Bind(values)
//	if policy.Decide([]*policy.Bound{bound}, "iot:Publish", "arn:aws:iot:us-east-1:123456789012:topic/a") == policy.Allowed {
//
// Sources: AWS IoT guide, "AWS IoT Core policies", and the pages below it; AWS IAM guide, "Grammar of the IAM JSON policy
// language" (read 2026-11).
package policy
