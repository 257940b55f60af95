// Calls the route of the Next.js example as Next.js does: with a web Request. Prints its answers as JSON.
import { POST } from "./route.js";

const ask = async (body) => {
  const request = new Request("http://localhost/api/battle", { method: "POST", body: JSON.stringify(body) });
  const response = await POST(request);
  return { status: response.status, ...(await response.json()) };
};
const images = [{ url: process.argv[2], cars: 2 }];
const right = await ask({ modelA: "GroundPlane", modelB: "NanoDet", images });
const wrong = await ask({ modelA: "GroundPlane" });
const unknown = await ask({ modelA: "GroundPlane", modelB: "NoSuchModel", images });
console.log(JSON.stringify({ right, wrong, unknown }));
