// One job by the project's own JavaScript client. Arguments: the client's file, base URL, token, endpoint, input as JSON.
const [file, baseUrl, token, endpoint, input] = process.argv.slice(2);
const { Admlops } = await import(file);
console.log(JSON.stringify({ output: await new Admlops({ baseUrl, token }).do(endpoint, JSON.parse(input)) }));
