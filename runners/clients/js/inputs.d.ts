// Written by `python -m docs.generate` from the service's own shapes.

/** Put two models or runs against each other on the same samples, and say who wins. */
export interface BattleInput {
  data?: string | null;
  /** Pictures, in place of `data`. */
  images?: ListedImage[];
  version?: string | null;
  split?: string | null;
  /** Scenes by name, in place of a split. */
  scenes?: string[];
  where?: string | null;
  limit?: number | null;
  complete_scenes?: boolean;
  variant?: string | null;
  /** auto takes every visible GPU, or the CPU if there is none. */
  device?: string;
  /** Worker processes on each device. */
  workers?: number;
  precision?: "authors" | "float32" | "half" | "tf32";
  batch?: number | "auto";
  estimate_energy?: boolean;
  /** A model of the catalogue, also with an engine behind an @, or a run. */
  model_a: string;
  /** A model of the catalogue, also with an engine behind an @, or a run. */
  model_b: string;
  random_weights?: boolean;
  metric?: string | null;
}

/** Run what is missing of several models, evaluate, and put them side by side. */
export interface CompareInput {
  data?: string | null;
  /** Pictures, in place of `data`. */
  images?: ListedImage[];
  version?: string | null;
  split?: string | null;
  /** Scenes by name, in place of a split. */
  scenes?: string[];
  where?: string | null;
  limit?: number | null;
  complete_scenes?: boolean;
  variant?: string | null;
  /** auto takes every visible GPU, or the CPU if there is none. */
  device?: string;
  /** Worker processes on each device. */
  workers?: number;
  precision?: "authors" | "float32" | "half" | "tf32";
  batch?: number | "auto";
  estimate_energy?: boolean;
  models: string[];
  also?: string | null;
  random_weights?: boolean;
  together?: boolean;
  metric?: string | null;
  submissions?: string[];
}

/** Compute the official metrics of a run, and write its report. */
export interface EvaluateInput {
  /** A run below the repository's runs/. */
  run: string;
  data?: string | null;
  official?: boolean;
  protocols?: string[];
  report?: boolean;
}

/** Write a model's network as a file that other runtimes execute. */
export interface ExportInput {
  /** A model of the catalogue. */
  model: string;
  precision?: "auto" | "fp16" | "fp32" | "fp32_tf32" | "int8";
  checkpoint?: string | null;
  weights?: string | null;
  config?: string | null;
  variant?: string | null;
  /** Options that the model's catalogue entry lists. */
  options?: Record<string, string>;
  opset?: number;
  form?: string;
  calibrate?: string | null;
  calibration_samples?: number;
  data?: string | null;
  version?: string | null;
}

/** A picture, and what is known of it. */
export interface ListedImage {
  /** An https address, or a path below an allowed root. */
  image_path: string;
  car_count?: number | null;
  description?: string | null;
  sha256?: string | null;
}

/** How long a job may take and wait [ms], and whether others go first. */
export interface Policy {
  executionTimeout?: number;
  ttl?: number;
  lowPriority?: boolean;
}

/** Run a model over scenes, evaluate the run, and write its report. */
export interface RunInput {
  data?: string | null;
  /** Pictures, in place of `data`. */
  images?: ListedImage[];
  version?: string | null;
  split?: string | null;
  /** Scenes by name, in place of a split. */
  scenes?: string[];
  where?: string | null;
  limit?: number | null;
  complete_scenes?: boolean;
  variant?: string | null;
  /** auto takes every visible GPU, or the CPU if there is none. */
  device?: string;
  /** Worker processes on each device. */
  workers?: number;
  precision?: "authors" | "float32" | "half" | "tf32";
  batch?: number | "auto";
  estimate_energy?: boolean;
  /** A model of the catalogue. */
  model: string;
  config?: string | null;
  checkpoint?: string | null;
  weights?: string | null;
  engine?: string | null;
  /** Options that the model's catalogue entry lists. */
  options?: Record<string, string>;
  off_distribution?: boolean;
  stream?: boolean;
  corrupt?: string | null;
  throughput?: boolean;
  evaluate?: boolean;
  report?: boolean;
}
