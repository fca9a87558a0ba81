// One connection of MQTT.js, told what to do in JSON: node client.mjs '{"url": ..., "options": {...}, "steps": [...]}'.
// Each step is [name, ...arguments]; what came of it is printed as one JSON line at the end.
import mqtt from "mqtt";
import { readFileSync } from "node:fs";

const task = JSON.parse(process.argv[2]);
const options = { ...task.options, ca: readFileSync(task.ca), reconnectPeriod: 0, connectTimeout: 10000 };
if (options.will) options.will.payload = Buffer.from(options.will.payload);
const result = { messages: [] };
const done = (code) => {
	console.log(JSON.stringify(result));
	process.exit(code);
};
setTimeout(() => { result.error = "took too long"; done(1); }, 60000).unref();

const client = mqtt.connect(task.url, options);
client.on("message", (topic, payload, packet) => {
	const { qos, retain, properties } = packet;
	result.messages.push({
		topic, payload: payload.toString(), qos, retain,
		properties: properties && JSON.parse(JSON.stringify(properties)),
	});
});
const until = (condition) => new Promise((resolve) => {
	const look = () => (condition() ? resolve() : setTimeout(look, 10));
	look();
});

client.on("error", (error) => {
	result.error = error.message;
	result.code = error.code;
	done(0);
});
client.on("connect", async (connack) => {
	result.connack = { sessionPresent: connack.sessionPresent, properties: connack.properties };
	try {
		for (const [step, ...args] of task.steps) {
			if (step === "subscribe") result.granted = (await client.subscribeAsync(...args)).map((one) => one.qos);
			if (step === "publish") await client.publishAsync(...args);
			if (step === "wait") await until(() => result.messages.length >= args[0]);
			if (step === "vanish") { client.stream.destroy(); done(0); }
		}
		await client.endAsync();
		done(0);
	} catch (error) {
		result.error = error.message;
		result.code = error.code;
		done(0);
	}
});
