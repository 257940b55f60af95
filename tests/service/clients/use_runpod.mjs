// RunPod's own JavaScript client against a service. Prints what came as JSON.
// Arguments: base URL, key, endpoint, the input as JSON, --stand-in where a stand-in does the jobs, --once for one job.
import runpodSdk from "runpod-sdk";

const [baseUrl, key, name, text, ...more] = process.argv.slice(2);
const input = JSON.parse(text);
const endpoint = runpodSdk(key, { baseUrl }).endpoint(name);

const waitFor = async (id) => {
  for (;;) {
    const body = await endpoint.statusSync(id, 5000);
    if (!["IN_QUEUE", "IN_PROGRESS"].includes(body.status)) return body;
  }
};

const found = {};
if (more.includes("--once")) {
  const { id } = await endpoint.run({ input });
  const stream = [];
  for await (const chunk of endpoint.stream(id)) stream.push(chunk.output);
  console.log(JSON.stringify({ stream, output: (await waitFor(id)).output }));
  process.exit(0);
}
const begun = await endpoint.run({ input });
found.begun = begun;
found.done = await waitFor(begun.id);
found.status = await endpoint.status(begun.id);
found.runSync = await endpoint.runSync({ input }, 60000);
found.stream = [];
const streamed = await endpoint.run({ input });
for await (const chunk of endpoint.stream(streamed.id)) found.stream.push(chunk);
if (more.includes("--stand-in")) {
  const waiting = await endpoint.run({ input: { ...input, limit: 99 } });
  found.cancel = await endpoint.cancel(waiting.id);
  found.cancelled = await waitFor(waiting.id);
  found.cancelledStream = [];
  for await (const chunk of endpoint.stream(waiting.id)) found.cancelledStream.push(chunk);
  found.failed = await endpoint.runSync({ input: { ...input, limit: 98 } }, 60000);
}
found.health = await endpoint.health();
found.purge = await endpoint.purgeQueue();
try {
  await runpodSdk("a-key-that-is-wrong", { baseUrl }).endpoint(name).health();
} catch (error) {
  found.wrongKey = error.response?.status ?? String(error);
}
console.log(JSON.stringify(found));
process.exit(0);
