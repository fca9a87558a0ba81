import os, tempfile, time
import jwt, requests
from astarte.device import DeviceMqtt, generate_random_device_id, register_device_with_jwt_token

env, device_id = os.environ, generate_random_device_id()
realm, pairing = env["ASTARTE_REALM"], env["ASTARTE_PAIRING_URL"]
rights = {api: [".*::.*"] for api in ("a_pa", "a_rma", "a_aea")}  # Pairing, Realm Management, AppEngine
token = jwt.encode({**rights, "exp": time.time() + 3600}, open(env["ASTARTE_REALM_PRIVATE_KEY"]).read(), "ES256")
temps = {"interface_name": "org.example.Temps", "version_major": 1, "version_minor": 0, "type": "datastream", "ownership": "device",
         "mappings": [{"endpoint": "/%{room}/celsius", "type": "double", "reliability": "guaranteed"}]}
requests.post(f"{env['ASTARTE_REALM_MANAGEMENT_URL']}/v1/{realm}/interfaces", json={"data": temps},
              headers={"Authorization": f"Bearer {token}"})  # 409 if it is there already

device = DeviceMqtt(device_id, realm, register_device_with_jwt_token(device_id, realm, token, pairing), pairing, tempfile.mkdtemp())
device.add_interface_from_json(temps)
device.connect()
while not device.is_connected():
    time.sleep(0.1)
device.send("org.example.Temps", "/kitchen/celsius", 21.5)
time.sleep(1)
device.disconnect()
print(f"""device {device_id} has sent 21.5; to read it back:
curl -sS --cacert '{env['FAIRLEAD_CA']}' -H 'Authorization: Bearer {token}' \\
  {env['ASTARTE_APPENGINE_URL']}/v1/{realm}/devices/{device_id}/interfaces/org.example.Temps""")
