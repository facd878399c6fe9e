import type { FaultContext } from '../harness/round.ts'
import { kill } from './kill.ts'

export type Scenario = {
  readonly name: string
  readonly what: string
  /** How many of its faults: in a full run, and in a quick one. */
  readonly times: { readonly full: number; readonly quick: number }
  readonly fault: (context: FaultContext) => Promise<void>
}

export const scenarios: readonly Scenario[] = [
  { name: 'kill', what: 'SIGKILL of room-state, persister, edge and bridge', times: { full: 200, quick: 8 }, fault: kill },
]
