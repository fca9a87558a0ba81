import os

from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

env = os.environ
client = AWSIoTMQTTClient(env["AWS_IOT_THING_NAME"])
client.configureEndpoint(env["AWS_IOT_ENDPOINT"], int(env["AWS_IOT_MQTT_PORT"]))
client.configureCredentials(env["AWS_IOT_ROOT_CA"], env["AWS_IOT_PRIVATE_KEY"], env["AWS_IOT_CERTIFICATE"])
client.connect()
client.publish("room/temp", "21.5", 1)  # returns when it is on disk
client.disconnect()
print("thing " + env["AWS_IOT_THING_NAME"] + " has sent 21.5")
