// Package engine runs the SDK's engine against real servers: a mosquitto, where one is installed, and the built hub. What it tests
// cannot be shown against a scripted peer: that servers which nobody here wrote the script for agree with us about sessions,
// resumption and order.
package engine
