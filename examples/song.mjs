// A song by JavaScript: `npm ci --prefix examples`, then
// `node examples/song.mjs http://127.0.0.1:7860 "lofi hip hop" song.wav`.
import { Client } from "@gradio/client";
import { writeFile } from "node:fs/promises";

const [url, prompt, target] = process.argv.slice(2);
const client = await Client.connect(url, { events: ["data", "status"] });
const job = client.submit("/generate", { prompt, duration_s: 10, seed: 1 });
let outputs;
for await (const message of job) {
  if (message.type === "data") {
    outputs = message.data;
    if (typeof outputs[2] === "string") console.log(outputs[2]); // an object tells a page more
  } else if (message.stage === "error") {
    console.error(`refused: ${message.message}`); // it names each wrong value and the rule that it breaks
    process.exit(1);
  }
}
const [song, details] = outputs;
await writeFile(target, Buffer.from(await (await fetch(song.url)).arrayBuffer()));
console.log(details.seed, details.checkpoint);
process.exit(0); // the client holds a connection open
