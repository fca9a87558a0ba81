// Package astartego holds our SDK for Go, package astarte, to what the official SDK for Python is held to in conformance/astarte, against the same built hub
// and with the same interfaces and values: what a device registers, sends, receives, keeps and survives. Scenarios that the official SDK is known to fail are in
// official_test.go, by name; ours has to pass them. What is about the hub alone, such as queries and tokens, is not repeated.
//
// Two things go further:
//
//   - TestDeviceIsKilled kills a device's process a hundred times (kill -9), with a full outbox, on a network that stalls and breaks, under a hub that is killed, too. Nothing that
//     was accepted may be missing, nothing out of order, and nothing sent again that the outbox had forgotten.
//   - TestFlapping breaks a device's network a thousand times.
//
// Longer forms:
//
//	FAIRLEAD_DEVICE_KILLS=1000 go test ./astartego -run TestDeviceIsKilled -v
//	FAIRLEAD_DEVICE_CUTS=20000 go test ./astartego -run TestFlapping -v
//	FAIRLEAD_DEVICE_SEED=7 ...       the same choices again (what hub and device do meanwhile is not the same)
package astartego
