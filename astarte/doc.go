// Package astarte is a device SDK for the Astarte platform. (work in progress)
package astarte
