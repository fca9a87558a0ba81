package astarte

import (
	"net/http"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// The platform's services. depth is how many segments of a path come before what tokens are tested against: the version
// and, except in Housekeeping, the realm.
var (
	pairing         = &service{prefix: "pairing", claim: astartewire.ClaimPairing, notFound: "Page not found", depth: 2}
	realmManagement = &service{prefix: "realmmanagement", claim: astartewire.ClaimRealmManagement, notFound: "Not found", depth: 2}
	appEngine       = &service{prefix: "appengine", claim: astartewire.ClaimAppEngine, notFound: "Not found", depth: 2}
	housekeeping    = &service{prefix: "housekeeping", claim: astartewire.ClaimHousekeeping, notFound: "Page not found", depth: 1}

	services = []*service{pairing, realmManagement, appEngine, housekeeping}
)

const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

const (
	mqttCredentials = "/v1/{realm}/devices/{device}/protocols/astarte_mqtt_v1/credentials"
	deviceInterface = "/v1/{realm}/devices/{device}/interfaces/{interface}"
)

// routes lists every endpoint that the platform documents ("Pairing API", "Realm Management API", "AppEngine API",
// "Housekeeping API", release 1.2, read 2026-11). Those without a handler are for later and answer as unknown ones.
var routes = []route{
	{pairing, get, "/health", accessOpen, tellHealth},
	{pairing, get, "/version", accessOpen, tellVersion},
	{pairing, get, "/v1/{realm}/version", accessToken, tellVersion},
	{pairing, get, "/v1/{realm}/health", accessOpen, tellHealth},
	{pairing, post, "/v1/{realm}/agent/devices", accessToken, registerDevice},
	{pairing, remove, "/v1/{realm}/agent/devices/{device}", accessToken, unregisterDevice},
	{pairing, get, "/v1/{realm}/devices/{device}", accessDevice, deviceInfo},
	{pairing, post, mqttCredentials, accessDevice, issueCredentials},
	{pairing, post, mqttCredentials + "/verify", accessDevice, verifyCredentials},

	{realmManagement, get, "/health", accessOpen, tellHealth},
	{realmManagement, get, "/version", accessOpen, tellVersion},
	{realmManagement, get, "/v1/{realm}/version", accessToken, tellVersion},
	{realmManagement, get, "/v1/{realm}/interfaces", accessToken, listInstalled},
	{realmManagement, post, "/v1/{realm}/interfaces", accessToken, installInterface},
	{realmManagement, get, "/v1/{realm}/interfaces/{interface}", accessToken, listMajors},
	{realmManagement, get, "/v1/{realm}/interfaces/{interface}/{major}", accessToken, getInterface},
	{realmManagement, put, "/v1/{realm}/interfaces/{interface}/{major}", accessToken, updateInterface},
	{realmManagement, remove, "/v1/{realm}/interfaces/{interface}/{major}", accessToken, deleteInterface},
	{realmManagement, get, "/v1/{realm}/config/auth", accessToken, getAuth},
	{realmManagement, put, "/v1/{realm}/config/auth", accessToken, putAuth},
	{realmManagement, get, "/v1/{realm}/config/device_registration_limit", accessToken, getRegistrationLimit},
	{realmManagement, get, "/v1/{realm}/config/datastream_maximum_storage_retention", accessToken, getMaxRetention},
	{realmManagement, get, "/v1/{realm}/triggers", accessToken, nil},
	{realmManagement, post, "/v1/{realm}/triggers", accessToken, nil},
	{realmManagement, get, "/v1/{realm}/triggers/{trigger}", accessToken, nil},
	{realmManagement, remove, "/v1/{realm}/triggers/{trigger}", accessToken, nil},
	{realmManagement, get, "/v1/{realm}/policies", accessToken, nil},
	{realmManagement, post, "/v1/{realm}/policies", accessToken, nil},
	{realmManagement, get, "/v1/{realm}/policies/{policy}", accessToken, nil},
	{realmManagement, remove, "/v1/{realm}/policies/{policy}", accessToken, nil},
	{realmManagement, remove, "/v1/{realm}/devices/{device}", accessToken, nil},

	{appEngine, get, "/health", accessOpen, tellHealth},
	{appEngine, get, "/version", accessOpen, tellVersion},
	{appEngine, get, "/v1/{realm}/version", accessToken, tellVersion},
	{appEngine, get, "/v1/{realm}/stats/devices", accessToken, deviceStats},
	{appEngine, get, "/v1/{realm}/devices", accessToken, listDevices},
	{appEngine, get, "/v1/{realm}/devices/{device}", accessToken, getDevice},
	{appEngine, patch, "/v1/{realm}/devices/{device}", accessToken, nil},
	{appEngine, get, "/v1/{realm}/devices/{device}/interfaces", accessToken, listDeclared},
	{appEngine, get, deviceInterface, accessToken, readInterface},
	{appEngine, get, deviceInterface + "/{path...}", accessToken, readPath},
	// Without a path: objects whose endpoints have one level only.
	{appEngine, post, deviceInterface, accessToken, writePath},
	{appEngine, post, deviceInterface + "/{path...}", accessToken, writePath},
	{appEngine, put, deviceInterface, accessToken, writePath},
	{appEngine, put, deviceInterface + "/{path...}", accessToken, writePath},
	{appEngine, remove, deviceInterface, accessToken, deletePath},
	{appEngine, remove, deviceInterface + "/{path...}", accessToken, deletePath},
	{appEngine, get, "/v1/{realm}/devices-by-alias/{alias}/{rest...}", accessToken, nil},
	{appEngine, get, "/v1/{realm}/groups", accessToken, nil},
	{appEngine, post, "/v1/{realm}/groups", accessToken, nil},
	{appEngine, get, "/v1/{realm}/groups/{group}/{rest...}", accessToken, nil},
	{appEngine, get, "/v1/socket/websocket", accessOpen, nil},

	{housekeeping, get, "/health", accessOpen, tellHealth},
	{housekeeping, get, "/version", accessOpen, tellVersion},
	{housekeeping, get, "/v1/version", accessToken, tellVersion},
	{housekeeping, get, "/v1/realms", accessToken, listRealms},
	{housekeeping, post, "/v1/realms", accessToken, createRealm},
	{housekeeping, get, "/v1/realms/{realm}", accessToken, getRealm},
	{housekeeping, patch, "/v1/realms/{realm}", accessToken, patchRealm},
	{housekeeping, remove, "/v1/realms/{realm}", accessToken, deleteRealm},
}
