// Package astarte is the Astarte platform's protocol as the hub speaks it: MQTT v1 towards devices, and the HTTP APIs
// Pairing, Realm Management, AppEngine and Housekeeping towards devices and applications.
//
// In the words of the core a realm is a tenant, a property is an entry of a document, and a value of a datastream is a
// sample:
//
//	document     one per property interface, "org.example.Config:1"; Reported if the device owns it, else Desired
//	channel      interface and path of a datastream, "org.example.Temps:1/room1/temp"
//	count scope  the interface, "org.example.Temps:1"; "" is everything that the device sent
//
// What the core has no place for is kept in records of the realm:
//
//	realm                   its configuration
//	interface/NAME/MAJOR    a definition, as JSON
//	device/DEVICE           what the device said of itself, see model
//
// Facts come from the public sources of the platform (astarte-platform/astarte 1.4.0-rc.4, read 2026-11), above all
// apps/astarte_data_updater_plant and apps/astarte_vmq_plugin for the MQTT side, its documentation "Astarte MQTT v1
// protocol", and from watching its official clients ("observed").
package astarte
