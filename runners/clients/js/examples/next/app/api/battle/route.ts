// A route of Next.js' App Router: POST {modelA, modelB, images: [{url, cars}]} → {winner, verdict, reason, metrics}.
//
// It runs on the server, so that the token never reaches a browser: set ADMLOPS_URL and ADMLOPS_TOKEN there.
import { Admlops, AdmlopsError, JobError, type BattleInput } from "admlops-client";

export const runtime = "nodejs";
export const dynamic = "force-dynamic";
export const maxDuration = 300; // [s]; for longer battles answer with the job's id and name a webhook

interface Asked {
  modelA: string;
  modelB: string;
  metric?: string;
  images: { url: string; cars: number }[];
}

function isAsked(value: unknown): value is Asked {
  const asked = value as Asked | null;
  return (
    typeof asked?.modelA === "string" &&
    typeof asked.modelB === "string" &&
    Array.isArray(asked.images) &&
    asked.images.length > 0 &&
    asked.images.every((one) => typeof one?.url === "string" && Number.isInteger(one.cars))
  );
}

export async function POST(request: Request): Promise<Response> {
  const asked: unknown = await request.json().catch(() => null);
  if (!isAsked(asked)) {
    return Response.json({ error: "send modelA, modelB and images: [{url, cars}]" }, { status: 422 });
  }
  const admlops = new Admlops({ baseUrl: process.env.ADMLOPS_URL, token: process.env.ADMLOPS_TOKEN });
  const input: BattleInput = {
    model_a: asked.modelA,
    model_b: asked.modelB,
    images: asked.images.map(({ url, cars }) => ({ image_path: url, car_count: cars })),
    ...(asked.metric ? { metric: asked.metric } : {}),
  };
  try {
    const { winner, battle, models } = await admlops.do("battle", input, { signal: request.signal });
    const metrics = Object.fromEntries(models.map((one) => [one.model, one.metrics]));
    return Response.json({ winner, verdict: battle.verdict, reason: battle.reason, metrics });
  } catch (error) {
    if (error instanceof JobError) return Response.json({ error: error.message }, { status: 502 });
    if (error instanceof AdmlopsError) {
      return Response.json({ error: error.message, errors: error.errors }, { status: error.status || 503 });
    }
    throw error;
  }
}
