import { Worker } from 'node:worker_threads'
import type { Mutation } from './mutations.ts'
import type { Batch, BatchResult } from './worker.ts'

const BATCH_SEEDS = 20

/** A thread of its own for runs. */
class SimWorker {
  readonly #worker: Worker

  constructor(mutation?: Mutation) {
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: { mutation }, execArgv: ['--disable-warning=ExperimentalWarning'] })
  }

  run(batch: Batch): Promise<BatchResult> {
    return new Promise((resolve, reject) => {
      this.#worker.removeAllListeners().once('message', resolve).once('error', reject)
      this.#worker.postMessage(batch)
    })
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }
}

export type Total = { runs: number; events: number; virtualMs: number }

/** Runs the seeds from `from` to `to`, on so many threads. Ends early with the first seed that fails. */
export async function runSeeds(from: number, to: number, workers: number, options: { readonly mutation?: Mutation; readonly onProgress?: (total: Total) => void } = {}): Promise<{ readonly total: Total; readonly failed: BatchResult['failed'] }> {
  const total: Total = { runs: 0, events: 0, virtualMs: 0 }
  let failed: BatchResult['failed']
  let next = from
  const work = async (): Promise<void> => {
    const worker = new SimWorker(options.mutation)
    try {
      while (next <= Math.min(to, failed ? failed.seed : to)) {
        const batch = { from: next, to: Math.min(next + BATCH_SEEDS - 1, to) }
        next = batch.to + 1
        const result = await worker.run(batch)
        total.runs += result.runs
        total.events += result.events
        total.virtualMs += result.virtualMs
        if (result.failed && (!failed || result.failed.seed < failed.seed)) failed = result.failed
        options.onProgress?.(total)
      }
    } finally {
      await worker.end()
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
  return { total, failed }
}
