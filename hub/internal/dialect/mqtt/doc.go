// Package mqtt is the dialect of plain MQTT devices, those without a platform's SDK. They sign in with user name and
// password, with a token, or with a client certificate; they publish and subscribe where their grants allow, with all that
// MQTT has; and what they publish is stored as samples like everybody's.
//
// In the words of the core:
//
//	channel      the topic, in full
//	count scope  "" is everything that the device sent, "not stored" what was passed on without being stored
//	record       device/DEVICE, see package credential
//
// It takes every connection that no platform wants, so it is asked last.
package mqtt
