// Package sigv4 signs requests with AWS Signature Version 4 and checks such signatures: in headers, as REST clients sign,
// and in the query, as MQTT clients sign the URL of their WebSocket handshake. It is pure: no I/O, no clock, no keys of its
// own. Device SDK and hub use the same code, and vectors of official clients test both directions.
//
// AWS IoT differs from other services in a few points (AWS IoT Core developer guide, "Device communication protocols", read
// 2026-11; clients as observed with AWSIoTPythonSDK 1.6.2, awsiotsdk 1.31.0 and npm aws-iot-device-sdk 2.2.16):
//
//   - In a presigned WebSocket URL the session token is appended after signing and is no part of what is signed.
//   - The service is called "iotdata" by some clients and "iotdevicegateway" by others; X-Amz-Expires is often missing.
//   - The host is signed as the client sends it in its Host header, which with some clients lacks the port. The
//     headers "connection" and "host" may be signed together.
//   - A path is encoded once more for signing: "/topics/a%2Fb" is signed as "/topics/a%252Fb".
//
// To sign, fill a [Request] and call [Sign] or [Presign]. To check, call [Parse], find the secret that belongs to
// [Signature.AccessKeyID], and call [Signature.Verify].
package sigv4
