// Package awsiot is a device SDK for AWS IoT Core: MQTT, shadows, jobs, fleet provisioning, and discovery of Greengrass cores.
package awsiot
