// `node-ws`: Node's ws with JSON.parse and Buffer, as https://github.com/websockets/ws#simple-server
// and #opt-in-for-performance say. Started and counted as the peers in Python (`serving.py`).
import { renameSync, writeFileSync, writeSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";

const PUBLISH_MS = 250;
const text = { type: "string" };
const { values } = parseArgs({
  options: { "listen-fd": text, counts: text, "parent-fd": text, "ready-fd": text },
});

let messages = 0;
const server = http.createServer();
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket) => {
  socket.on("error", () => socket.terminate());
  socket.on("message", (data) => {
    const packet = JSON.parse(data);
    if (packet.kind === "AudioData") Buffer.from(packet.audioData.data, "base64");
    messages += 1;
  });
});

function publish() {
  const figures = { at_us: Date.now() * 1000, series: [{ name: "messages", value: messages }] };
  writeFileSync(`${values.counts}.tmp`, JSON.stringify(figures));
  renameSync(`${values.counts}.tmp`, values.counts);
}

const leave = () => process.exit(0);
process.on("SIGTERM", leave);
const parent = new net.Socket({ fd: Number(values["parent-fd"]), readable: true, writable: false });
parent.on("close", leave).on("error", leave).resume();
setInterval(publish, PUBLISH_MS);
server.listen({ fd: Number(values["listen-fd"]) }, () => {
  writeSync(Number(values["ready-fd"]), "READY\n");
});
