// The project's own JavaScript client against a service whose jobs a stand-in does. Prints what came as JSON.
// Arguments: the client's file, base URL, token.
const [file, baseUrl, token] = process.argv.slice(2);
const { Admlops, AdmlopsError, JobError } = await import(file);
const admlops = new Admlops({ baseUrl, token });
const input = { model: "GroundPlane", limit: 3 };
const found = {};
const errorOf = (promise) => promise.then(() => null, (error) => error);

const { id } = await admlops.run("run", input);
found.done = await admlops.wait("run", id);
found.stream = [];
for await (const chunk of admlops.stream("run", id)) found.stream.push(chunk);
found.runSync = await admlops.runSync("run", input);
found.output = await admlops.do("run", input);

const failed = await errorOf(admlops.do("run", { ...input, limit: 98 }));
found.failed = [failed instanceof JobError, failed.message, failed.job.errorClass];

const progress = [];
const stop = new AbortController();
setTimeout(() => stop.abort(new Error("enough")), 600);
const options = { signal: stop.signal, waitMs: 200, onProgress: (job) => progress.push(job) };
const aborted = await errorOf(admlops.do("run", { ...input, limit: 99 }, options));
found.aborted = [aborted.message, progress.length > 0];
found.cancelled = await errorOf(admlops.wait("run", progress[0].id));
found.cancelled = found.cancelled.job.status;

const invalid = await errorOf(admlops.run("run", { model: 3 }));
found.invalid = [invalid instanceof AdmlopsError, invalid.status, invalid.errors[0].path];
found.refused = (await errorOf(new Admlops({ baseUrl, token: "wrong" }).health("run"))).status;
found.away = (await errorOf(new Admlops({ baseUrl: "http://127.0.0.1:9", token }).health("run"))).status;
found.health = await admlops.health("run");
found.purged = await admlops.purgeQueue("run");
console.log(JSON.stringify(found));
