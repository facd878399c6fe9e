import { parentPort, workerData } from 'node:worker_threads'
import type { Mutation } from './mutations.ts'
import { plant } from './plant.ts'
import type { RunResult } from './run.ts'

export type Batch = { readonly from: number; readonly to: number }
/** `failed`: the first seed of the batch that violates something; what comes after it was not tried. */
export type BatchResult = { readonly runs: number; readonly events: number; readonly virtualMs: number; readonly failed: RunResult | undefined }

const { mutation } = workerData as { readonly mutation?: Mutation }
if (mutation) plant(mutation)
// Only now: what is planted must be there when it is loaded.
const { runSeed } = await import('./run.ts')

async function runBatch({ from, to }: Batch): Promise<BatchResult> {
  const sum = { runs: 0, events: 0, virtualMs: 0 }
  for (let seed = from; seed <= to; seed++) {
    const result = await runSeed(seed)
    sum.runs++
    sum.events += result.events
    sum.virtualMs += result.virtualMs
    if (result.violation) return { ...sum, failed: result }
  }
  return { ...sum, failed: undefined }
}

parentPort!.on('message', (batch: Batch) => void runBatch(batch).then((result) => parentPort!.postMessage(result)))
