// A client of admlops' job API (docs/service.md), for Node 18 or later and for browsers of the service's own origin.

const FINAL = new Set(["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]);
const WAIT_MS = 60_000;
const MARGIN_MS = 15_000;

/** A request that the service refused, or that did not reach it (status 0). */
export class AdmlopsError extends Error {
  constructor(message, { status = 0, hint, errors = [], cause } = {}) {
    super(message, { cause });
    this.name = "AdmlopsError";
    this.status = status;
    this.hint = hint;
    this.errors = errors;
  }
}

/** A job that did not succeed. `job` is what the service says of it. */
export class JobError extends Error {
  constructor(job) {
    super(job.error ?? `the job ended ${job.status}`);
    this.name = "JobError";
    this.job = job;
  }
}

export const isFinal = (job) => FINAL.has(job.status);

export class Admlops {
  #base;
  #token;
  #fetch;

  constructor({ baseUrl = "http://127.0.0.1:8000", token, fetch = globalThis.fetch } = {}) {
    this.#base = baseUrl.replace(/\/+$/, "");
    this.#token = token;
    this.#fetch = fetch;
  }

  run(endpoint, input, { webhook, policy, signal } = {}) {
    return this.#call("POST", `${endpoint}/run`, { body: { input, webhook, policy }, signal });
  }

  runSync(endpoint, input, { waitMs = WAIT_MS, webhook, policy, signal } = {}) {
    const path = `${endpoint}/runsync?wait=${waitMs}`;
    return this.#call("POST", path, { body: { input, webhook, policy }, signal, timeoutMs: waitMs + MARGIN_MS });
  }

  status(endpoint, id, { signal } = {}) {
    return this.#call("GET", `${endpoint}/status/${encodeURIComponent(id)}`, { signal });
  }

  async wait(endpoint, id, { waitMs = WAIT_MS, onProgress, signal } = {}) {
    for (;;) {
      const path = `${endpoint}/status-sync/${encodeURIComponent(id)}?wait=${waitMs}`;
      const job = await this.#call("GET", path, { signal, timeoutMs: waitMs + MARGIN_MS });
      if (!isFinal(job)) {
        onProgress?.(job);
      } else if (job.status === "COMPLETED") {
        return job;
      } else {
        throw new JobError(job);
      }
    }
  }

  async *stream(endpoint, id, { signal } = {}) {
    for (;;) {
      const part = await this.#call("GET", `${endpoint}/stream/${encodeURIComponent(id)}`, { signal });
      for (const { output } of part.stream) yield output;
      if (isFinal(part) && part.stream.length === 0) return;
    }
  }

  cancel(endpoint, id) {
    return this.#call("POST", `${endpoint}/cancel/${encodeURIComponent(id)}`);
  }

  retry(endpoint, id) {
    return this.#call("POST", `${endpoint}/retry/${encodeURIComponent(id)}`);
  }

  purgeQueue(endpoint) {
    return this.#call("POST", `${endpoint}/purge-queue`);
  }

  health(endpoint) {
    return this.#call("GET", `${endpoint}/health`);
  }

  /** Put a job into the queue and return its output at its end; an abort of `signal` cancels the job as well. */
  async do(endpoint, input, { webhook, policy, waitMs, onProgress, signal } = {}) {
    const { id } = await this.run(endpoint, input, { webhook, policy, signal });
    try {
      return (await this.wait(endpoint, id, { waitMs, onProgress, signal })).output;
    } catch (error) {
      if (signal?.aborted) await this.cancel(endpoint, id).catch(() => undefined);
      throw error;
    }
  }

  async #call(method, path, { body, signal, timeoutMs = 30_000 } = {}) {
    const timeout = AbortSignal.timeout(timeoutMs);
    let response;
    try {
      response = await this.#fetch(`${this.#base}/v2/${path}`, {
        method,
        headers: {
          ...(this.#token ? { authorization: `Bearer ${this.#token}` } : {}),
          ...(body ? { "content-type": "application/json" } : {}),
        },
        body: body ? JSON.stringify(body) : undefined,
        signal: signal && AbortSignal.any ? AbortSignal.any([signal, timeout]) : (signal ?? timeout),
        cache: "no-store",
        redirect: "error",
      });
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      throw new AdmlopsError(`${this.#base} does not answer: ${cause.message}`, { cause });
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new AdmlopsError(answer.error ?? response.statusText, { ...answer, status: response.status });
  }
}
