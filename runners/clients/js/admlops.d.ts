import type { BattleInput, CompareInput, EvaluateInput, ExportInput, Policy, RunInput } from "./inputs.js";

export * from "./inputs.js";

export interface Inputs {
  run: RunInput;
  compare: CompareInput;
  battle: BattleInput;
  evaluate: EvaluateInput;
  export: ExportInput;
}
export type Endpoint = keyof Inputs;
export type Status = "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT";

/** A number, and what it can be compared with: only values of the same `protocol` over the same samples. */
export interface Metric {
  name: string;
  protocol: string;
  value: number | null;
  n: number | null;
  interval: [number, number] | null;
  unit: string;
}
export interface RunOutput {
  run: string;
  model: string;
  variant: string;
  state: string;
  samples: number;
  failed: number;
  samples_sha256: string;
  metrics: Metric[];
  notes: string[];
  report?: string | null;
}
export interface Contender {
  model: string;
  state: string;
  why: string;
  run: string | null;
  metrics: Metric[];
}
export interface CompareOutput {
  runs: string[];
  models: Contender[];
  battles: unknown[];
  rankings: unknown[];
}
/** `winner` is null in a tie, and where nothing was decided: `battle.verdict` and `battle.reason` say which and why. */
export interface BattleOutput extends CompareOutput {
  model_a: string;
  model_b: string;
  winner: string | null;
  battle: { verdict: string; reason: string; [more: string]: unknown };
}
export interface Outputs {
  run: RunOutput;
  compare: CompareOutput;
  battle: BattleOutput;
  evaluate: RunOutput;
  export: Record<string, unknown>;
}
/** What /stream gives for each scene that is whole. */
export interface SceneChunk {
  scene: string;
  samples: number;
  failed: number;
  latency_p50_ms: number | null;
  model?: string;
}

export interface Begun {
  id: string;
  status: Status;
  cancelling?: boolean;
}
export interface Job<Output = unknown> extends Begun {
  /** How long it waited [ms]. */
  delayTime?: number;
  /** How long its latest attempt took [ms]. */
  executionTime?: number;
  output?: Output;
  error?: string;
  errorClass?: string;
  workerId?: string;
  retries?: number;
}
export interface Health {
  jobs: Record<"completed" | "failed" | "inProgress" | "inQueue" | "retried", number>;
  workers: Record<"idle" | "initializing" | "ready" | "running" | "throttled" | "unhealthy", number>;
}
export interface RunOptions {
  webhook?: string;
  policy?: Policy;
  signal?: AbortSignal;
}
export interface WaitOptions {
  /** How long one request waits at most [ms]; the service takes no more than 90 s. */
  waitMs?: number;
  onProgress?: (job: Job) => void;
  signal?: AbortSignal;
}

export class AdmlopsError extends Error {
  status: number;
  hint?: string;
  errors: { path: string; message: string }[];
}
export class JobError extends Error {
  job: Job;
}
export function isFinal(job: { status: Status }): boolean;

export class Admlops {
  constructor(options?: { baseUrl?: string; token?: string; fetch?: typeof fetch });
  run<E extends Endpoint>(endpoint: E, input: Inputs[E], options?: RunOptions): Promise<Begun>;
  runSync<E extends Endpoint>(
    endpoint: E,
    input: Inputs[E],
    options?: RunOptions & { waitMs?: number },
  ): Promise<Job<Outputs[E]>>;
  status<E extends Endpoint>(endpoint: E, id: string, options?: { signal?: AbortSignal }): Promise<Job<Outputs[E]>>;
  /** Wait for a job's end. Throws JobError: it did not succeed. */
  wait<E extends Endpoint>(endpoint: E, id: string, options?: WaitOptions): Promise<Job<Outputs[E]>>;
  stream<E extends Endpoint>(endpoint: E, id: string, options?: { signal?: AbortSignal }): AsyncGenerator<SceneChunk>;
  cancel(endpoint: Endpoint, id: string): Promise<Begun>;
  retry(endpoint: Endpoint, id: string): Promise<Begun>;
  purgeQueue(endpoint: Endpoint): Promise<{ removed: number; status: "completed" }>;
  health(endpoint: Endpoint): Promise<Health>;
  do<E extends Endpoint>(endpoint: E, input: Inputs[E], options?: RunOptions & WaitOptions): Promise<Outputs[E]>;
}
